# SPDX-License-Identifier: 0BSD
# The properties of io.holdpoint.Update1, as `busctl --json=short` gives them, in words from the catalogues: in the first line the
# ticket of a question, in the second the names of its answers, in the third what is written on the keys for them, in the fourth
# the progress (each may be empty), and below what else there is to see. With $key: that message alone. Nothing to read: no service.

# A code without a message of its own has that of its family; what a language lacks is said in English.
def has_message($key): any($own[0].messages, $en[0].messages; has($key));
def text($key; $facts):
  first((($key, ($key | split(".")[0]) + ".*") as $name | ($own[0], $en[0]).messages[$name] | values), $key)
  | reduce ({owner: "", why: ""} + $facts | to_entries[]) as {$key, $value} (.; split("{\($key)}") | join($value | tostring));
def text($key): text($key; {});

# Local time of a moment, with its day when that is not today.
def clock:
  (. / 1000000 | floor) as $at
  | if ($at | strflocaltime("%F")) == (now | floor | strflocaltime("%F")) then "%H:%M" else "%d.%m. %H:%M" end
  | . as $format | $at | strflocaltime($format);

# What busctl wraps into type and data, at every depth.
def plain:
  if type == "object" and has("type") and has("data") then .data | plain
  elif type == "object" or type == "array" then map_values(plain)
  else . end;

def blocker:
  . as [$id, $kind, $owner, $reason, $details]
  | text(if has_message("reason.\($reason)") then "reason.\($reason)" else "blocker.\($kind)" end;
      {owner: $owner, why: ($details.why // "")})
    + if $details["end-usec"] > 0 then ", " + text("ui.until"; {time: ($details["end-usec"] | clock)})
      elif $details["expected-end-usec"] > 0 then ", " + text("ui.expected"; {time: ($details["expected-end-usec"] | clock)})
      else "" end;

def progress:
  # When an update is over, how far it came stands there until the next one.
  if .DeploymentId == "" or .Progress < 0 then ""
  else
    text("ui.progress"; {percent: (.Progress | floor)})
    + if .RemainingSeconds >= 90 then ", " + text("ui.remaining-minutes"; {n: (.RemainingSeconds / 60 | round)})
      elif .RemainingSeconds >= 0 then ", " + text("ui.remaining-seconds"; {n: .RemainingSeconds})
      else "" end
  end;

def size:
  if . >= 0 then " (" + text("ui.size"; {size: (. / 100000 | round | "\(. / 10 | floor)\(text("ui.decimal"))\(. % 10)")}) + ")"
  else "" end;

def last:
  if .LastResult == "none" then empty
  else
    text("ui.last"; {result: text("result.\(.LastResult)")})
    + if .LastErrorName == "" then "" else ". " + text("failure.\(.LastErrorName | split(".")[-1])") end
  end;

def answers:
  (.AllowedActions | index("snooze")) as $may_snooze
  # Asked is who can answer: while only others block there is nothing to say yes to.
  | if .WaitTicket == "" or all(.Blockers[]; .[1] != "consent") then []
    else ["now"] + (if any(.Blockers[]; .[4].skippable == true) then ["window"] else [] end) + (if $may_snooze then ["later"] else [] end)
    end;

def view:
  answers as $answers
  | (if $answers == [] then "" else .WaitTicket end),
    ($answers | join(" ")),
    ([$answers | to_entries[] | "[\(.key + 1)] \(text("ui.\(.value)"))"] | join("  ")),
    progress,
    text(if $answers == [] then "activity.\(.Activity)" else "point.\(.WaitPoint)" end),
    "  " + text("ui.installed"; {name: .CurrentArtifactName}),
    (if .ArtifactName == "" then empty else "  " + text("ui.update"; {name: .ArtifactName}) + (.Deployment["size-bytes"] // -1 | size) end),
    (.Deployment["release-notes"] // empty | split("\n")[] | "  " + .),
    (.Blockers[] | "  - " + blocker),
    (if .WaitPoint != "" and .WaitDeadlineUSec > 0 then "  - " + text("ui.then-\(.WaitOnExpire)"; {time: (.WaitDeadlineUSec | clock)}) else empty end),
    (last | "  " + .);

if $key != "" then text($key)
else [inputs][0] | if . == null then ("", "", "", "", text("ui.no-service")) else .data[0] | map_values(plain) | view end end
# Nothing that somebody has written into an artifact moves the cursor.
| gsub("[[:cntrl:]]"; " ")
