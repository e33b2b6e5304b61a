// SPDX-License-Identifier: 0BSD
// A window about the update of this device, in Qt 6 and QML: what comes, how far it is, who blocks, and now, at the window, or later.
// Here is what follows the service on D-Bus; Window.qml puts it into words. No polling: everything comes as signals. Build:
//     cmake -B build && cmake --build build
#include <QtDBus>
#include <QtQml>
#include <QGuiApplication>

static const auto NAME = QStringLiteral("io.holdpoint.Update1");
static const auto PATH = QStringLiteral("/io/holdpoint/Update1");
static const auto PROPERTIES = QStringLiteral("org.freedesktop.DBus.Properties");
static const uint LATER_SECONDS = 4 * 3600;

/// Lists and maps in place of what D-Bus made of them, at every depth, so that QML can read them.
static QVariant plain(const QVariant &value) {
    if (value.canConvert<QDBusVariant>()) return plain(value.value<QDBusVariant>().variant());
    if (!value.canConvert<QDBusArgument>()) return value;
    const auto argument = value.value<QDBusArgument>();
    if (argument.currentType() == QDBusArgument::MapType) {
        auto map = qdbus_cast<QVariantMap>(argument);
        for (auto &entry : map) entry = plain(entry);
        return map;
    }
    const bool isArray = argument.currentType() == QDBusArgument::ArrayType;
    QVariantList list;
    for (isArray ? argument.beginArray() : argument.beginStructure(); !argument.atEnd();) list << plain(argument.asVariant());
    isArray ? argument.endArray() : argument.endStructure();
    return list;
}

class Update : public QObject {
    Q_OBJECT
    /// Those of io.holdpoint.Update1; empty while there is no service.
    Q_PROPERTY(QVariantMap properties MEMBER m_properties NOTIFY changed)
    /// Why the last answer was not taken: last part of the error's name; empty = it was, or another question is asked by now.
    Q_PROPERTY(QString refusal MEMBER m_refusal NOTIFY changed)
    /// Messages by key: those of the language, and in English what it lacks.
    Q_PROPERTY(QVariantMap messages MEMBER m_messages CONSTANT)

public:
    Update() {
        for (const auto &language : {QStringLiteral("en"), QLocale::system().uiLanguages().value(0).left(2)}) {
            QFile file(":/catalogue/" + language + ".json");
            if (file.open(QIODevice::ReadOnly))
                m_messages.insert(QJsonDocument::fromJson(file.readAll())["messages"].toObject().toVariantMap());
        }
        m_bus.connect(NAME, PATH, PROPERTIES, "PropertiesChanged", this, SLOT(merge(QString,QVariantMap)));
        connect(&m_watcher, &QDBusServiceWatcher::serviceRegistered, this, &Update::read);
        connect(&m_watcher, &QDBusServiceWatcher::serviceUnregistered, this, &Update::forget);
        read();
    }

    // Each answers one question: the ticket is that of the view the person saw, so an old click approves nothing.
    Q_INVOKABLE void now(const QString &ticket) { call("ContinueFull", {ticket, QVariantMap{{"now", true}}}); }
    Q_INVOKABLE void window(const QString &ticket) { call("Continue", {ticket}); }
    Q_INVOKABLE void later(const QString &ticket) { call("Snooze", {ticket, LATER_SECONDS}); }
    Q_INVOKABLE void check(const QString &) { call("CheckForUpdate", {}); }

signals:
    void changed();

private slots:
    void read() {
        auto message = QDBusMessage::createMethodCall(NAME, PATH, PROPERTIES, "GetAll");
        message << NAME;
        message.setAutoStartService(false);  // Its coming is told by the watcher.
        m_bus.callWithCallback(message, this, SLOT(show(QVariantMap)), SLOT(forget()));
    }

    void forget() { show({}); }

    void show(const QVariantMap &properties) {
        if (properties.value("WaitTicket") != m_properties.value("WaitTicket")) m_refusal.clear();
        m_properties = properties;
        for (auto &value : m_properties) value = plain(value);
        emit changed();
    }

    void merge(const QString &interface, const QVariantMap &news) {
        // Before the first answer of GetAll nothing is known; what comes until then is in that answer.
        if (interface != NAME || m_properties.isEmpty()) return;
        auto all = m_properties;
        all.insert(news);
        show(all);
    }

    void refuse(const QDBusError &error) {
        m_refusal = error.name().section('.', -1);
        emit changed();
    }

private:
    void call(const char *method, const QVariantList &arguments) {
        auto message = QDBusMessage::createMethodCall(NAME, PATH, NAME, method);
        message.setArguments(arguments);
        message.setInteractiveAuthorizationAllowed(true);
        m_bus.callWithCallback(message, this, nullptr, SLOT(refuse(QDBusError)));
    }

    QDBusConnection m_bus = QDBusConnection::systemBus();
    QDBusServiceWatcher m_watcher{NAME, m_bus};
    QVariantMap m_properties;
    QVariantMap m_messages;
    QString m_refusal;
};

int main(int argc, char *argv[]) {
    QGuiApplication application(argc, argv);
    Update update;
    QQmlApplicationEngine engine;
    engine.setInitialProperties({{"update", QVariant::fromValue(&update)}});
    engine.load(QUrl("qrc:/Window.qml"));
    return engine.rootObjects().isEmpty() ? 1 : application.exec();
}

#include "main.moc"
