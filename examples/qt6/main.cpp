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
    if (value.metaType() == QMetaType::fromType<QDBusVariant>()) return plain(value.value<QDBusVariant>().variant());
    if (value.metaType() == QMetaType::fromType<QVariantMap>()) {
        QVariantMap map = value.toMap();
        for (auto &entry : map) entry = plain(entry);
        return map;
    }
    if (value.metaType() != QMetaType::fromType<QDBusArgument>()) return value;
    const auto argument = value.value<QDBusArgument>();
    const auto type = argument.currentType();
    if (type == QDBusArgument::MapType) return plain(qdbus_cast<QVariantMap>(argument));
    if (type != QDBusArgument::ArrayType && type != QDBusArgument::StructureType) return plain(argument.asVariant());
    const auto isArray = type == QDBusArgument::ArrayType;
    QVariantList list;
    for (isArray ? argument.beginArray() : argument.beginStructure(); !argument.atEnd();) list << plain(argument.asVariant());
    isArray ? argument.endArray() : argument.endStructure();
    return list;
}

class Update : public QObject {
    Q_OBJECT
    /// Those of io.holdpoint.Update1; empty while there is no service.
    Q_PROPERTY(QVariantMap properties MEMBER m_properties NOTIFY changed)
    /// Messages by key: those of the language, and in English what it lacks.
    Q_PROPERTY(QVariantMap messages MEMBER m_messages CONSTANT)

public:
    Update() : m_watcher(NAME, m_bus, QDBusServiceWatcher::WatchForOwnerChange) {
        load("en");
        for (const auto *name : {"LANGUAGE", "LC_ALL", "LC_MESSAGES", "LANG"}) {
            if (const auto language = qEnvironmentVariable(name).left(2); !language.isEmpty()) {
                load(language);
                break;
            }
        }
        m_bus.connect(NAME, PATH, PROPERTIES, "PropertiesChanged", this, SLOT(merge(QString,QVariantMap,QStringList)));
        connect(&m_watcher, &QDBusServiceWatcher::serviceOwnerChanged, this, [this](auto, auto, const QString &owner) {
            if (owner.isEmpty()) show({}); else read();
        });
        read();
    }

    // Each answers one question: the ticket is that of the view the person saw, so an old click approves nothing.
    Q_INVOKABLE void now(const QString &ticket) { call("ContinueFull", {ticket, QVariantMap{{"now", true}}}); }
    Q_INVOKABLE void atWindow(const QString &ticket) { call("Continue", {ticket}); }
    Q_INVOKABLE void later(const QString &ticket) { call("Snooze", {ticket, LATER_SECONDS}); }
    Q_INVOKABLE void check() { call("CheckForUpdate", {}); }

signals:
    void changed();
    /// The last part of the error's name.
    void refused(const QString &name);

private slots:
    void merge(const QString &interface, const QVariantMap &news, const QStringList &) {
        // Before the first answer of GetAll nothing is known; what comes until then is in that answer.
        if (interface != NAME || m_properties.isEmpty()) return;
        auto all = m_properties;
        all.insert(plain(news).toMap());
        show(all);
    }

private:
    void load(const QString &language) {
        QFile file(":/catalogue/" + language + ".json");
        if (file.open(QIODevice::ReadOnly))
            m_messages.insert(QJsonDocument::fromJson(file.readAll())["messages"].toObject().toVariantMap());
    }

    void show(const QVariantMap &properties) {
        m_properties = properties;
        emit changed();
    }

    void read() {
        auto message = QDBusMessage::createMethodCall(NAME, PATH, PROPERTIES, "GetAll");
        message << NAME;
        message.setAutoStartService(false);  // Its coming is told by the watcher.
        send(message, [this](const QDBusMessage &reply) {
            const bool isAnswer = reply.type() == QDBusMessage::ReplyMessage;
            show(isAnswer ? plain(reply.arguments().constFirst()).toMap() : QVariantMap());
        });
    }

    void call(const char *method, const QVariantList &arguments) {
        auto message = QDBusMessage::createMethodCall(NAME, PATH, NAME, method);
        message.setArguments(arguments);
        message.setInteractiveAuthorizationAllowed(true);
        send(message, [this](const QDBusMessage &reply) {
            if (reply.type() == QDBusMessage::ErrorMessage) emit refused(reply.errorName().section('.', -1));
        });
    }

    template <typename Done> void send(const QDBusMessage &message, Done done) {
        auto *pending = new QDBusPendingCallWatcher(m_bus.asyncCall(message), this);
        connect(pending, &QDBusPendingCallWatcher::finished, this, [pending, done] {
            pending->deleteLater();
            done(pending->reply());
        });
    }

    QDBusConnection m_bus = QDBusConnection::systemBus();
    QDBusServiceWatcher m_watcher;
    QVariantMap m_properties;
    QVariantMap m_messages;
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
