// dbus-next can do without this package (docs/decisions); whoever loads it has taken a path we do not support.
throw new Error('event-stream is not available in Holdpoint');
