// SPDX-License-Identifier: 0BSD
import QtQuick
import QtQuick.Controls.Basic
import QtQuick.Layouts

ApplicationWindow {
    id: window
    required property var update
    readonly property var p: update.properties
    readonly property bool isThere: p.State !== undefined
    readonly property string ticket: isThere ? p.WaitTicket : ""
    // Asked is who can answer: while only others block there is nothing to say yes to.
    readonly property bool isAsking: ticket !== "" && p.Blockers.some(blocker => blocker[1] === "consent")
    // When an update is over, how far it came stands there until the next one.
    readonly property bool hasProgress: isThere && p.DeploymentId !== "" && p.Progress >= 0
    property string problem: ""
    // Another question: what was said about the old one is no longer of interest.
    onTicketChanged: problem = ""

    // A code without a message of its own has that of its family.
    function text(key, values) {
        const found = update.messages[key] ?? update.messages[key.split(".")[0] + ".*"] ?? key;
        return found.replace(/\{(\w+)\}/g, (_, name) => (values ?? {})[name] ?? "");
    }

    // Local time of a moment, with its day when that is not today.
    function clock(usec) {
        const moment = new Date(usec / 1000);
        const isToday = moment.toDateString() === new Date().toDateString();
        return Qt.formatDateTime(moment, isToday ? "HH:mm" : "dd.MM. HH:mm");
    }

    function blockerText([, kind, owner, reason, details]) {
        const key = `reason.${reason}` in update.messages ? `reason.${reason}` : `blocker.${kind}`;
        const said = text(key, { owner, why: details.why });
        if (details["end-usec"] > 0) return `${said}, ${text("ui.until", { time: clock(details["end-usec"]) })}`;
        const expected = details["expected-end-usec"];
        return expected > 0 ? `${said}, ${text("ui.expected", { time: clock(expected) })}` : said;
    }

    function factsText() {
        const facts = [text("ui.installed", { name: p.CurrentArtifactName })];
        if (p.ArtifactName !== "") {
            const megabytes = ((p.Deployment["size-bytes"] ?? -1) / 1e6).toFixed(1).replace(".", text("ui.decimal"));
            const size = megabytes >= "0" ? ` (${text("ui.size", { size: megabytes })})` : "";
            facts.push(text("ui.update", { name: p.ArtifactName }) + size);
        }
        return facts.join("\n");
    }

    function waitsText() {
        const waits = p.Blockers.map(blockerText);
        if (p.WaitPoint !== "" && p.WaitDeadlineUSec > 0)
            waits.push(text(`ui.then-${p.WaitOnExpire}`, { time: clock(p.WaitDeadlineUSec) }));
        return waits.map(wait => `•  ${wait}`).join("\n");
    }

    function progressText() {
        const left = p.RemainingSeconds;
        const parts = [text("ui.progress", { percent: Math.floor(p.Progress) })];
        if (left >= 90) parts.push(text("ui.remaining-minutes", { n: Math.round(left / 60) }));
        else if (left >= 0) parts.push(text("ui.remaining-seconds", { n: left }));
        return parts.join(", ");
    }

    function lastText() {
        if (p.LastResult === "none") return "";
        const said = text("ui.last", { result: text(`result.${p.LastResult}`) });
        const failure = p.LastErrorName.split(".").pop();
        return failure === "" ? said : `${said}. ${text(`failure.${failure}`)}`;
    }

    function buttonNames() {
        if (!isThere) return [];
        if (!isAsking) return p.AllowedActions.includes("check") && p.DeploymentId === "" ? ["check"] : [];
        const names = p.AllowedActions.includes("snooze") ? ["later"] : [];
        if (p.Blockers.some(([, , , , details]) => details.skippable === true)) names.push("window");
        return [...names, "now"];
    }

    function press(name) {
        const answers = { now: update.now, window: update.atWindow, later: update.later, check: () => update.check() };
        answers[name](ticket);
    }

    Connections {
        target: window.update
        function onRefused(name) { window.problem = window.text(`refusal.${name}`) }
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
        Line {
            font { pixelSize: 26; bold: true }
            text: !window.isThere ? window.text("ui.no-service")
                : window.text(window.isAsking ? `point.${window.p.WaitPoint}` : `activity.${window.p.Activity}`)
        }
        Line { text: window.isThere ? window.factsText() : "" }
        Line { text: window.isThere ? window.p.Deployment["release-notes"] ?? "" : "" }
        ProgressBar {
            Layout.fillWidth: true
            visible: window.hasProgress
            value: visible ? window.p.Progress / 100 : 0
        }
        Line { text: window.hasProgress ? window.progressText() : "" }
        Line { text: window.isThere ? window.waitsText() : ""; color: "#5a6577" }
        Line { text: window.isThere ? window.lastText() : ""; color: "#8a3a1e" }
        Line { text: window.problem; color: "#8a3a1e" }
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
                    onClicked: window.press(modelData)
                }
            }
        }
    }
}
