/* SPDX-License-Identifier: 0BSD
 *
 * The update of this device for a small panel without a desktop: what an LVGL screen needs, in one file, with sd-bus.
 * Follows io.holdpoint.Update1 by signals and prints one line for each change; reads n (now), w (at the window), l (later)
 * from standard input. Where `show` prints, an LVGL program sets its labels; the descriptor of `sd_bus_get_fd` goes into its loop.
 *
 *     cc -Wall -Wextra -O2 -o update_panel update_panel.c $(pkg-config --cflags --libs libsystemd)
 */
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <systemd/sd-bus.h>
#include <unistd.h>

#define NAME "io.holdpoint.Update1"
#define OBJECT "/io/holdpoint/Update1"
#define LATER_SECONDS (4 * 3600)

struct update {
  int is_there; /* Whether the service is on the bus. */
  double progress; /* 0 to 100, -1 = unknown. */
  int64_t remaining_seconds, size_bytes;
  uint64_t deadline_usec;
  char activity[32], name[128], installed[128], ticket[64], point[64], result[32], failure[128];
  char notes[1024]; /* Of whoever made the artifact; empty = none. */
  char blockers[512]; /* "kind owner reason", one after the other. */
};

static struct update now;
static sd_bus_slot *pending;

static void copy(char *to, size_t size, const char *from) { snprintf(to, size, "%s", from); }

/* Texts by our codes come from the catalogue of the panel; here the codes themselves are shown. */
static void show(void) {
  if (!now.is_there) {
    puts("no service");
  } else {
    printf("%s %s -> %s", now.activity, now.installed, now.name[0] ? now.name : "-");
    if (now.size_bytes >= 0) printf(" %lld bytes", (long long)now.size_bytes);
    /* When an update is over, how far it came stands there until the next one. */
    if (now.name[0] && now.progress >= 0) printf(" %d %%", (int)now.progress);
    if (now.remaining_seconds >= 0) printf(" %lld s left", (long long)now.remaining_seconds);
    if (now.notes[0]) printf(" | %s", now.notes);
    if (now.point[0]) printf(" | %s: %s| ends %llu%s", now.point, now.blockers,
                             (unsigned long long)(now.deadline_usec / 1000000), now.ticket[0] ? " | n/w/l?" : "");
    if (strcmp(now.result, "none") != 0) printf(" | last: %s %s", now.result, now.failure);
    putchar('\n');
  }
  fflush(stdout);
}

/* Each: id, kind, owner, reason, details. */
static int read_blockers(sd_bus_message *message) {
  const char *kind, *owner, *reason;
  int r = sd_bus_message_enter_container(message, 'a', "(ssssa{sv})");
  if (r < 0) return r;
  now.blockers[0] = '\0';
  while ((r = sd_bus_message_enter_container(message, 'r', "ssssa{sv}")) > 0) {
    if ((r = sd_bus_message_read(message, "ssss", NULL, &kind, &owner, &reason)) < 0) return r;
    if ((r = sd_bus_message_skip(message, "a{sv}")) < 0) return r;
    size_t used = strlen(now.blockers);
    snprintf(now.blockers + used, sizeof now.blockers - used, "%s by %s (%s) ", kind, owner, reason);
    if ((r = sd_bus_message_exit_container(message)) < 0) return r;
  }
  return r < 0 ? r : sd_bus_message_exit_container(message);
}

/* Of the facts about the deployment only the release notes. */
static int read_deployment(sd_bus_message *message) {
  const char *key, *text;
  int r = sd_bus_message_enter_container(message, 'a', "{sv}");
  now.notes[0] = '\0';
  while (r >= 0 && (r = sd_bus_message_enter_container(message, 'e', "sv")) > 0) {
    if ((r = sd_bus_message_read(message, "s", &key)) < 0) return r;
    if (strcmp(key, "release-notes") != 0) r = sd_bus_message_skip(message, "v");
    else if ((r = sd_bus_message_read(message, "v", "s", &text)) >= 0) copy(now.notes, sizeof now.notes, text);
    if (r >= 0) r = sd_bus_message_exit_container(message);
  }
  return r < 0 ? r : sd_bus_message_exit_container(message);
}

static int read_property(sd_bus_message *message, const char *name) {
  static const struct { const char *name; char *to; size_t size; } TEXTS[] = {
    {"Activity", now.activity, sizeof now.activity}, {"ArtifactName", now.name, sizeof now.name},
    {"CurrentArtifactName", now.installed, sizeof now.installed}, {"WaitTicket", now.ticket, sizeof now.ticket},
    {"WaitPoint", now.point, sizeof now.point}, {"LastResult", now.result, sizeof now.result},
    {"LastErrorName", now.failure, sizeof now.failure},
  };
  int r;
  for (size_t at = 0; at < sizeof TEXTS / sizeof *TEXTS; at++) {
    if (strcmp(TEXTS[at].name, name) != 0) continue;
    const char *text;
    if ((r = sd_bus_message_read(message, "v", "s", &text)) < 0) return r;
    /* Of io.holdpoint.Update1.Failure.Signature the last word. */
    const char *dot = strcmp(name, "LastErrorName") == 0 ? strrchr(text, '.') : NULL;
    copy(TEXTS[at].to, TEXTS[at].size, dot ? dot + 1 : text);
    return 0;
  }
  if (strcmp(name, "Progress") == 0) return sd_bus_message_read(message, "v", "d", &now.progress);
  if (strcmp(name, "RemainingSeconds") == 0) return sd_bus_message_read(message, "v", "x", &now.remaining_seconds);
  if (strcmp(name, "DownloadSizeBytes") == 0) return sd_bus_message_read(message, "v", "x", &now.size_bytes);
  if (strcmp(name, "WaitDeadlineUSec") == 0) return sd_bus_message_read(message, "v", "t", &now.deadline_usec);
  if (strcmp(name, "Deployment") == 0) {
    if ((r = sd_bus_message_enter_container(message, 'v', "a{sv}")) < 0) return r;
    if ((r = read_deployment(message)) < 0) return r;
    return sd_bus_message_exit_container(message);
  }
  if (strcmp(name, "Blockers") != 0) return sd_bus_message_skip(message, "v");
  if ((r = sd_bus_message_enter_container(message, 'v', "a(ssssa{sv})")) < 0) return r;
  if ((r = read_blockers(message)) < 0) return r;
  return sd_bus_message_exit_container(message);
}

static int read_properties(sd_bus_message *message) {
  const char *name;
  int r = sd_bus_message_enter_container(message, 'a', "{sv}");
  while (r >= 0 && (r = sd_bus_message_enter_container(message, 'e', "sv")) > 0) {
    if ((r = sd_bus_message_read(message, "s", &name)) < 0) return r;
    if ((r = read_property(message, name)) < 0) return r;
    r = sd_bus_message_exit_container(message);
  }
  return r < 0 ? r : sd_bus_message_exit_container(message);
}

static int on_all(sd_bus_message *message, void *data, sd_bus_error *error) {
  (void)data, (void)error;
  now.is_there = !sd_bus_message_is_method_error(message, NULL) && read_properties(message) >= 0;
  show();
  return 0;
}

static int read_all(sd_bus *bus) {
  pending = sd_bus_slot_unref(pending);
  return sd_bus_call_method_async(bus, &pending, NAME, OBJECT, "org.freedesktop.DBus.Properties", "GetAll", on_all, NULL, "s", NAME);
}

static int on_changed(sd_bus_message *message, void *data, sd_bus_error *error) {
  (void)data, (void)error;
  /* What comes before the answer of GetAll is in that answer. */
  if (!now.is_there || sd_bus_message_skip(message, "s") < 0 || read_properties(message) < 0) return 0;
  show();
  return 0;
}

static int on_owner(sd_bus_message *message, void *data, sd_bus_error *error) {
  (void)error;
  const char *owner;
  if (sd_bus_message_read(message, "sss", NULL, NULL, &owner) < 0) return 0;
  memset(&now, 0, sizeof now); /* Tickets of a service that has gone are dead. */
  if (owner[0]) return read_all(data);
  show();
  return 0;
}

static int on_reply(sd_bus_message *message, void *data, sd_bus_error *error) {
  (void)data, (void)error;
  const sd_bus_error *refusal = sd_bus_message_get_error(message);
  if (refusal) printf("refused: %s\n", strrchr(refusal->name, '.') + 1), fflush(stdout);
  return 0;
}

/* The ticket is that of what was shown: an answer to an old question approves nothing. */
static int answer(sd_bus *bus, char key) {
  if (!now.ticket[0]) return 0;
  if (key == 'n')
    return sd_bus_call_method_async(bus, NULL, NAME, OBJECT, NAME, "ContinueFull", on_reply, NULL, "sa{sv}", now.ticket, 1, "now", "b", 1);
  if (key == 'w') return sd_bus_call_method_async(bus, NULL, NAME, OBJECT, NAME, "Continue", on_reply, NULL, "s", now.ticket);
  if (key == 'l')
    return sd_bus_call_method_async(bus, NULL, NAME, OBJECT, NAME, "Snooze", on_reply, NULL, "su", now.ticket, LATER_SECONDS);
  return 0;
}

static int fail(const char *doing, int r) {
  fprintf(stderr, "update_panel: %s: %s\n", doing, strerror(-r));
  return EXIT_FAILURE;
}

int main(void) {
  sd_bus *bus = NULL;
  int r = sd_bus_open_system(&bus);
  if (r < 0) return fail("opening the bus", r);
  /* Listen first, then look: nothing is lost in between. */
  r = sd_bus_match_signal(bus, NULL, NAME, OBJECT, "org.freedesktop.DBus.Properties", "PropertiesChanged", on_changed, NULL);
  if (r >= 0)
    r = sd_bus_add_match(bus, NULL,
                         "type='signal',sender='org.freedesktop.DBus',member='NameOwnerChanged',arg0='" NAME "'", on_owner, bus);
  if (r >= 0) r = read_all(bus);
  if (r < 0) return fail("following the service", r);
  struct pollfd from[2] = {{.fd = STDIN_FILENO, .events = POLLIN}, {.fd = sd_bus_get_fd(bus)}};
  for (;;) {
    while ((r = sd_bus_process(bus, NULL)) > 0) continue;
    if (r < 0) return fail("on the bus", r);
    uint64_t until;
    from[1].events = (short)sd_bus_get_events(bus);
    int is_timed = sd_bus_get_timeout(bus, &until) > 0 && until != UINT64_MAX;
    if (poll(from, 2, is_timed ? 1000 : -1) < 0) return fail("waiting", -1);
    char key;
    if (from[0].revents & (POLLIN | POLLHUP)) {
      if (read(STDIN_FILENO, &key, 1) != 1) from[0].fd = -1; /* Goes on showing. */
      else if ((r = answer(bus, key)) < 0) return fail("answering", r);
    }
  }
}
