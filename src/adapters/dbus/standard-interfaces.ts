import { parseInterfaceXml } from './xml-table.ts';

/** The interfaces every object has. Source: D-Bus specification, "Standard Interfaces". */
export const PROPERTIES = 'org.freedesktop.DBus.Properties';
export const INTROSPECTABLE = 'org.freedesktop.DBus.Introspectable';
export const PEER = 'org.freedesktop.DBus.Peer';

const COMMON_XML = ` <interface name="${INTROSPECTABLE}">
  <method name="Introspect"><arg name="xml_data" type="s" direction="out"/></method>
 </interface>
 <interface name="${PEER}">
  <method name="Ping"/>
  <method name="GetMachineId"><arg name="machine_uuid" type="s" direction="out"/></method>
 </interface>
`;

const PROPERTIES_XML = ` <interface name="${PROPERTIES}">
  <method name="Get"><arg name="interface_name" type="s" direction="in"/><arg name="property_name" type="s" direction="in"/><arg name="value" type="v" direction="out"/></method>
  <method name="GetAll"><arg name="interface_name" type="s" direction="in"/><arg name="props" type="a{sv}" direction="out"/></method>
  <method name="Set"><arg name="interface_name" type="s" direction="in"/><arg name="property_name" type="s" direction="in"/><arg name="value" type="v" direction="in"/></method>
  <signal name="PropertiesChanged"><arg name="interface_name" type="s"/><arg name="changed_properties" type="a{sv}"/><arg name="invalidated_properties" type="as"/></signal>
 </interface>
`;

const DOCTYPE =
  '<!DOCTYPE node PUBLIC "-//freedesktop//DTD D-BUS Object Introspection 1.0//EN" "http://www.freedesktop.org/standards/dbus/1.0/introspect.dtd">\n';

/** On the way to an object there is nothing to read but its children. */
export const PARENT_TABLE = parseInterfaceXml(`<node>${COMMON_XML}</node>`);
export const STANDARD_TABLE = parseInterfaceXml(`<node>${COMMON_XML}${PROPERTIES_XML}</node>`);

/** The XML of the object, word for word, with the standard interfaces and children added at its end. */
export function objectXml(xml: string, children: readonly string[]): string {
  const end = xml.lastIndexOf('</node>');
  return `${xml.slice(0, end)}${COMMON_XML}${PROPERTIES_XML}${childrenXml(children)}${xml.slice(end)}`;
}

export function parentXml(children: readonly string[]): string {
  return `${DOCTYPE}<node>\n${COMMON_XML}${childrenXml(children)}</node>\n`;
}

function childrenXml(children: readonly string[]): string {
  return children.map((name) => ` <node name="${name}"/>\n`).join('');
}
