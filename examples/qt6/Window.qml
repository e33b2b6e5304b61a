// SPDX-License-Identifier: 0BSD
import QtQuick
import QtQuick.Controls.Basic
import QtQuick.Layouts

ApplicationWindow {
    id: window
    required property var update
    // What the words below need, also while there is no service.
    readonly property var nothing: ({ DeploymentId: "", WaitTicket: "", Blockers: [], AllowedActions: [], LastResult: "none" })
    readonly property bool isThere: update.properties.State !== undefined
    readonly property var p: isThere ? update.properties : nothing
    // Asked is who can answer: while only others block there is nothing to say yes to.
    readonly property bool isAsking: p.WaitTicket !== "" && p.Blockers.some(([, kind]) => kind === "consent")
    // When an update is over, how far it came stands there until the next one.
    readonly property bool hasProgress: p.DeploymentId !== "" && p.Progress >= 0
    readonly property string heading: !isThere ? "ui.no-service" : isAsking ? `point.${p.WaitPoint}` : `activity.${p.Activity}`

    // A code without a message of its own has that of its family.
    function text(key, values = {}) {
        const found = update.messages[key] ?? update.messages[key.split(".")[0] + ".*"] ?? key;
        return found.replace(/\{(\w+)\}/g, (_, name) => values[name] ?? "");
    }

    // Local time of a moment, with its day when that is not today.
    function timed(key, usec) {
        const moment = new Date(usec / 1000);
        const isToday = moment.toDateString() === new Date().toDateString();
        return text(key, { time: Qt.formatDateTime(moment, isToday ? "HH:mm" : "dd.MM. HH:mm") });
    }

    function factsText() {
        if (!isThere) return "";
        const bytes = p.Deployment["size-bytes"] ?? -1;
        const megabytes = (bytes / 1e6).toFixed(1).replace(".", text("ui.decimal"));
        const size = bytes >= 0 ? ` (${text("ui.size", { size: megabytes })})` : "";
        const update = p.ArtifactName === "" ? "" : "\n" + text("ui.update", { name: p.ArtifactName }) + size;
        return text("ui.installed", { name: p.CurrentArtifactName }) + update;
    }

    function progressText() {
        const left = p.RemainingSeconds;
        const parts = [text("ui.progress", { percent: Math.floor(p.Progress) })];
        if (left >= 90) parts.push(text("ui.remaining-minutes", { n: Math.round(left / 60) }));
        else if (left >= 0) parts.push(text("ui.remaining-seconds", { n: left }));
        return parts.join(", ");
    }

    function blockerText([, kind, owner, reason, details]) {
        const key = `reason.${reason}` in update.messages ? `reason.${reason}` : `blocker.${kind}`;
        const parts = [text(key, { owner, why: details.why })];
        if (details["end-usec"] > 0) parts.push(timed("ui.until", details["end-usec"]));
        else if (details["expected-end-usec"] > 0) parts.push(timed("ui.expected", details["expected-end-usec"]));
        return parts.join(", ");
    }

    function waitsText() {
        const waits = p.Blockers.map(blockerText);
        if (waits.length > 0 && p.WaitDeadlineUSec > 0) waits.push(timed(`ui.then-${p.WaitOnExpire}`, p.WaitDeadlineUSec));
        return waits.map(wait => `•  ${wait}`).join("\n");
    }

    function lastText() {
        if (p.LastResult === "none") return "";
        const said = text("ui.last", { result: text(`result.${p.LastResult}`) });
        return p.LastErrorName === "" ? said : `${said}. ${text(`failure.${p.LastErrorName.split(".").pop()}`)}`;
    }

    // Also the names of what is called when they are pressed.
    function buttonNames() {
        if (!isAsking) return p.DeploymentId === "" && p.AllowedActions.includes("check") ? ["check"] : [];
        const canSkip = p.Blockers.some(([, , , , details]) => details.skippable === true);
        return [...p.AllowedActions.includes("snooze") ? ["later"] : [], ...canSkip ? ["window"] : [], "now"];
    }

    component Line: Label {
        Layout.fillWidth: true
        visible: text !== ""
        wrapMode: Text.Wrap
        font.pixelSize: 15
        color: "#1c2330"
    }

    visible: true
    width: 560
    height: 420
    color: "#f6f7f9"
    palette.dark: "#1c71d8"
    title: text("ui.title")

    ColumnLayout {
        anchors { fill: parent; margins: 30 }
        spacing: 14
        Line { text: window.text(window.heading); font { pixelSize: 26; bold: true } }
        Line { text: window.factsText() }
        Line { text: window.p.Deployment?.["release-notes"] ?? "" }
        ProgressBar { visible: window.hasProgress; value: (window.p.Progress ?? 0) / 100; Layout.fillWidth: true }
        Line { text: window.hasProgress ? window.progressText() : "" }
        Line { text: window.waitsText(); color: "#5a6577" }
        Line { text: window.lastText(); color: "#8a3a1e" }
        Line { text: window.update.refusal === "" ? "" : window.text(`refusal.${window.update.refusal}`); color: "#8a3a1e" }
        Item { Layout.fillHeight: true }
        RowLayout {
            Layout.alignment: Qt.AlignRight
            spacing: 12
            Repeater {
                model: window.buttonNames()
                Button {
                    required property string modelData
                    text: window.text(`ui.${modelData}`)
                    highlighted: modelData === "now"
                    font.pixelSize: 16
                    padding: 12
                    onClicked: window.update[modelData](window.p.WaitTicket)
                }
            }
        }
    }
}
