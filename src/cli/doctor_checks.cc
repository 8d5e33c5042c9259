#include "cli/doctor_checks.h"

#include <sys/stat.h>

#include <algorithm>
#include <charconv>
#include <cmath>
#include <cstdio>
#include <limits>
#include <sstream>

#include "cli/config.h"
#include "cli/words.h"
#include "codec/archive.h"
#include "codec/certificate_dates.h"
#include "protocol/messages.h"

namespace tidelock {
namespace {

constexpr std::uint64_t kMiB = 1u << 20, kGiB = 1u << 30;
constexpr std::int64_t kDay = 86'400;
constexpr std::int64_t kRenewDays = 14;
constexpr std::uint64_t kOwnFiles = 512;     // RocksDB, links, listeners
constexpr std::uint64_t kFilesLeast = 1024;  // below it even an edge without clients runs out

// What a probe and its answer cost beside the two messages, as counted on a link of 0.3 ms (tcp_info of the edge's
// session): TLS records, HTTP/2 frames and gRPC's own pings, 160 bytes; six segments with 52 of IP and TCP each.
constexpr std::size_t kAroundAProbe = 160 + 6 * 52;

std::size_t bytes_of_a_probe() {
  constexpr std::uint64_t kUsual = 1u << 20;  // numbers of an edge that has run for hours
  const EdgeFrame probe{SessionNo{kUsual}, kUsual, Probe{Nonce{kUsual}, true, kSecond, true}};
  const HubFrame mark{SessionNo{kUsual}, kUsual,
                      Mark{Nonce{kUsual}, Index{kUsual}, true, 30 * kSecond, kDay * kSecond, kSecond}};
  return encode(probe).size() + encode(mark).size() + kAroundAProbe;
}

std::string one_decimal(double value) {
  char text[48];
  std::snprintf(text, sizeof text, "%.1f", value);
  return text;
}

}  // namespace

std::string_view health_name(Health health) {
  switch (health) {
    case Health::kGood: return "good";
    case Health::kNote: return "note";
    case Health::kBroken: return "broken";
    case Health::kUnknown: return "unknown";
    case Health::kSkipped: return "skipped";
  }
  return "unknown";
}

int exit_code_of(const Findings& findings) {
  const auto any = [&](Health health) {
    return std::any_of(findings.begin(), findings.end(), [&](const Finding& one) { return one.health == health; });
  };
  return any(Health::kBroken) ? 1 : any(Health::kUnknown) ? 2 : 0;
}

std::string findings_text(const Findings& findings) {
  std::string text;
  for (const Finding& one : findings) {
    std::string name(health_name(one.health));
    if (one.health == Health::kBroken) name = "BROKEN";
    char head[40];
    std::snprintf(head, sizeof head, "  %-8s %-13s ", name.c_str(), one.check.c_str());
    text += head + shown_text(one.what) + "\n";
    if (!one.todo.empty()) text += "           do:           " + shown_text(one.todo) + "\n";
  }
  static constexpr const char* kVerdicts[] = {"nothing here breaks a promise", "something here breaks a promise",
                                              "not everything could be looked at"};
  return text + "\n  " + kVerdicts[exit_code_of(findings)];
}

Json findings_json(const Findings& findings) {
  const int code = exit_code_of(findings);
  Json json{{"ok", code == 0}, {"exit_code", code}, {"findings", Json::array()}};
  for (const Finding& one : findings) {
    json["findings"].push_back({{"check", one.check},
                                {"health", health_name(one.health)},
                                {"what", one.what},
                                {"todo", one.todo},
                                {"facts", one.facts}});
  }
  return json;
}

// ------------------------------------------------------------------------------------------------- clock

Findings judge_clock(const ClockFacts& facts) {
  Findings out;
  const auto add = [&](Health health, std::string what, std::string todo) {
    out.push_back({"clock", health, std::move(what), std::move(todo), Json::object()});
  };
  if (!facts.trouble.empty()) {
    add(Health::kBroken, facts.trouble + ": apps cannot tell whether their clock is their edge's",
        "mount /proc where edges and apps run; in a container, do not hide it");
  }
  if (facts.rate_fault.value_or(false)) {
    add(Health::kBroken,
        "the edge says that its clock's rate is outside 1 +- " + std::to_string(facts.rho_ppm) +
            " ppm of its hub's: it proves nothing while this lasts (C3)",
        "compare this machine's clock with others (chronyc tracking); mend or replace the machine whose oscillator is "
        "off");
  }
  if (facts.steer_ppm && std::abs(*facts.steer_ppm) > facts.rho_ppm) {
    add(Health::kBroken,
        "the time daemon corrects this machine's oscillator by " + one_decimal(*facts.steer_ppm) +
            " ppm; the cluster assumes " + std::to_string(facts.rho_ppm) + " at most (C3)",
        "raise cluster.rho_ppm on the hubs above it before the first start, or replace this machine");
  }
  const bool slow = facts.read_ns > 2 * kMicrosecond;
  if (slow) {
    add(Health::kNote,
        "reading the clock takes " + duration_words(facts.read_ns) + " (clock source " +
            (facts.source.empty() ? "unknown" : facts.source) + "): every read from memory pays for it",
        "boot with a clock source that is read without a system call (tsc, kvm-clock, arch_sys_counter)");
  }
  std::string what = "read in " + std::to_string(facts.read_ns) + " ns";
  if (!facts.source.empty()) what += ", source " + facts.source;
  what += facts.suspended_ns > kSecond
              ? "; this machine slept " + duration_words(facts.suspended_ns) + " since it booted, which counts"
              : std::string("; never asleep since it booted");
  what += facts.steer_ppm ? "; corrected by " + one_decimal(*facts.steer_ppm) + " of the " +
                                std::to_string(facts.rho_ppm) + " ppm allowed"
                          : std::string("; no time daemon tells how far its rate is off");
  if (facts.rate_fault) what += *facts.rate_fault ? "; rate FAULT" : "; the edge finds its rate sound";
  if (exit_code_of(out) == 0) {
    out.insert(out.begin(), {"clock",
                             Health::kGood,
                             what,
                             "",
                             {{"read_ns", facts.read_ns},
                              {"source", facts.source},
                              {"suspended_ms", facts.suspended_ns / kMillisecond},
                              {"steer_ppm", facts.steer_ppm ? Json(*facts.steer_ppm) : Json(nullptr)},
                              {"rate_fault", facts.rate_fault ? Json(*facts.rate_fault) : Json(nullptr)}}});
  }
  return out;
}

// ------------------------------------------------------------------------------------------------- limits

std::optional<std::pair<std::uint64_t, std::uint64_t>> limit_of(const std::string& limits, const std::string& name) {
  std::istringstream lines(limits);
  for (std::string line; std::getline(lines, line);) {
    if (!line.starts_with(name + " ")) continue;
    std::istringstream words(line.substr(name.size()));
    const auto number = [&]() -> std::optional<std::uint64_t> {
      std::string word;
      words >> word;
      if (word == "unlimited") return std::numeric_limits<std::uint64_t>::max();
      std::uint64_t value = 0;
      const auto [end, error] = std::from_chars(word.data(), word.data() + word.size(), value);
      if (error != std::errc{} || end != word.data() + word.size()) return std::nullopt;
      return value;
    };
    const auto soft = number(), hard = number();
    if (soft && hard) return std::pair{*soft, *hard};
    return std::nullopt;
  }
  return std::nullopt;
}

Findings judge_io(const std::string& back_end, const std::string& refusal) {
  if (back_end.empty()) return {};  // an edge of before
  Json facts{{"io", back_end}, {"refusal", refusal.empty() ? Json(nullptr) : Json(refusal)}};
  if (refusal.empty()) {
    return {{"io", Health::kGood, "the Redis protocol of the edge waits on " + back_end, "", std::move(facts)}};
  }
  return {{"io", Health::kNote, "the Redis protocol of the edge waits on " + back_end + ": " + refusal,
           "allow io_uring_setup, io_uring_enter and io_uring_register (seccomp profile of the container, sysctl "
           "kernel.io_uring_disabled) on Linux 6.1 or newer; or io = \"epoll\" under [redis_door], which costs little",
           std::move(facts)}};
}

Findings judge_limits(const LimitFacts& facts) {
  const auto files = limit_of(facts.limits, "Max open files");
  if (!files) {
    return {{"limits", Health::kUnknown, "the limits of " + facts.whose + " cannot be read",
             "run this on the machine of the edge, with /proc mounted", Json::object()}};
  }
  Findings out;
  const auto shown = [](std::uint64_t value) {
    return value == std::numeric_limits<std::uint64_t>::max() ? std::string("unlimited") : std::to_string(value);
  };
  const std::uint64_t needed = facts.clients_max + kOwnFiles;
  const std::string raise = "LimitNOFILE=" + std::to_string(needed) + " in the unit, or ulimit -n " +
                            std::to_string(needed) +
                            (files->second < needed ? " (the hard limit is " + shown(files->second) + ")" : "");
  if (files->first < kFilesLeast) {
    out.push_back({"limits", Health::kBroken,
                   facts.whose + " may open " + shown(files->first) + " files: the store alone can need " +
                       std::to_string(kOwnFiles) + ", and then accepts no writes",
                   raise, Json::object()});
  } else if (files->first < needed) {
    out.push_back({"limits", Health::kNote,
                   facts.whose + " may open " + shown(files->first) + " files: clients beyond about " +
                       std::to_string(files->first - kOwnFiles) + " of the " + std::to_string(facts.clients_max) +
                       " that may come are refused",
                   raise, Json::object()});
  }
  if (facts.swap) {
    out.push_back({"limits", Health::kNote, "swap is on: pages of arena and store may be on a disk when they are read",
                   "swapoff, or MemorySwapMax=0 in the unit", Json::object()});
  }
  const auto core = limit_of(facts.limits, "Max core file size"), lock = limit_of(facts.limits, "Max locked memory");
  std::string what = shown(files->first) + " open files for " + facts.whose;
  if (lock)
    what += ", locked memory " + (lock->first > kMiB * kMiB ? shown(lock->first) : bytes_words(lock->first)) +
            " (none is needed)";
  if (core && core->first == 0)
    what += ", a crash leaves no core file";
  else if (core)
    what += ", a core file goes to '" + facts.core_pattern + "' and holds keys and values";
  out.insert(out.begin(), {"limits",
                           Health::kGood,
                           what,
                           "",
                           {{"open_files", files->first},
                            {"locked_memory_bytes", lock ? Json(lock->first) : Json(nullptr)},
                            {"core_bytes", core ? Json(core->first) : Json(nullptr)},
                            {"core_pattern", facts.core_pattern},
                            {"swap", facts.swap}}});
  if (out.size() > 1 && out[1].health == Health::kBroken) out.erase(out.begin());
  return out;
}

// ------------------------------------------------------------------------------------------------- certificates

Findings check_certificates(const TlsFiles& tls, const std::optional<PeerIdentity>& expected, std::int64_t now_s) {
  Findings out;
  const auto broken = [&](std::string what, std::string todo) {
    out.push_back({"certificates", Health::kBroken, std::move(what), std::move(todo), Json::object()});
  };
  const std::string again = "enrol the node again: tidelock hub token, then tidelock join";
  const auto ca = read_file(tls.ca_file), certificate = read_file(tls.certificate_file), key = read_file(tls.key_file);
  for (const auto* file : {&ca, &certificate, &key}) {
    if (*file) continue;
    broken(file->error().message, "the paths under [tls] must be readable by who runs the node; " + again);
    return out;
  }
  if (const auto ok = check_ca_bundle(*ca); !ok) broken(tls.ca_file + ": " + ok.error().message, again);
  struct stat info{};
  if (::stat(tls.key_file.c_str(), &info) == 0 && (info.st_mode & 077) != 0) {
    char mode[16];
    std::snprintf(mode, sizeof mode, "%04o", static_cast<unsigned>(info.st_mode & 07777));
    broken(tls.key_file + " has mode " + mode + ": others can read the key and pass for this node",
           "chmod 0600 " + tls.key_file + ", and enrol the node again if others may have read it");
  }
  const auto self = check_key_pair({*certificate, *key});
  if (!self) {
    broken(tls.certificate_file + ": " + self.error().message, again);
    return out;
  }
  if (expected && !(*self == *expected)) {
    broken(tls.certificate_file + " is of " + identity_name(*self) + ", the configuration is of " +
               identity_name(*expected),
           "give the node its own certificate, or the configuration the right id");
  }
  if (const auto chain = check_signed_by(*certificate, *ca); !chain && check_ca_bundle(*ca)) {
    broken(
        tls.certificate_file + " is not signed by " + tls.ca_file + " (" + chain.error().message + "): peers refuse it",
        again);
  }
  for (const auto& [path, pem] : {std::pair{tls.certificate_file, *certificate}, std::pair{tls.ca_file, *ca}}) {
    const auto dates = validity_of_certificate(pem);
    if (!dates) continue;  // said above
    const std::int64_t left_s = dates->not_after_s - now_s;
    const std::string todo = path == tls.ca_file
                                 ? "put a new CA beside the old one in every ca.pem, then issue certificates anew"
                                 : again + "; a running node takes the new files when it reconnects";
    if (left_s <= 0) {
      broken(
          path + " is over since " + duration_words(std::min(-left_s, kForever / kSecond) * kSecond, Rounding::kDown),
          todo);
    } else if (dates->not_before_s > now_s) {
      broken(path + " begins in " + duration_words(std::min(dates->not_before_s - now_s, kForever / kSecond) * kSecond),
             "set this machine's date");
    } else if (left_s < kRenewDays * kDay) {
      out.push_back({"certificates", Health::kNote,
                     path + " is over in " + duration_words(left_s * kSecond, Rounding::kDown), todo, Json::object()});
    } else if (path == tls.certificate_file) {
      out.insert(out.begin(), {"certificates",
                               Health::kGood,
                               identity_name(*self) + ", signed by the CA, for another " +
                                   duration_words(std::min(left_s, kForever / kSecond) * kSecond, Rounding::kDown),
                               "",
                               {{"identity", identity_name(*self)}, {"left_s", left_s}}});
    }
  }
  if (exit_code_of(out) != 0) std::erase_if(out, [](const Finding& one) { return one.health == Health::kGood; });
  return out;
}

// ------------------------------------------------------------------------------------------------- hubs

Nanos median_of(std::vector<Nanos> values) {
  if (values.empty()) return 0;
  const auto middle = values.begin() + static_cast<std::ptrdiff_t>(values.size() / 2);
  std::nth_element(values.begin(), middle, values.end());
  return *middle;
}

Findings judge_hubs(const std::vector<HubLook>& looks) {
  Findings out;
  std::size_t up = 0;
  bool active = false;
  for (const HubLook& look : looks) {
    Json facts{{"id", look.id}, {"address", look.address}, {"up", !look.error}};
    if (look.error) {
      const bool refused =
          look.error->code == Code::kDenied || look.error->message.find("certificate refused") != std::string::npos;
      out.push_back({"hubs", refused ? Health::kBroken : Health::kNote,
                     look.id + " at " + look.address + ": " + look.error->message,
                     refused ? "both ends must have certificates of one CA; enrol this node again"
                             : "is it running, and is TCP to " + look.address + " open from here?",
                     std::move(facts)});
      continue;
    }
    ++up;
    active = active || look.active;
    const Nanos trip = median_of(look.trips_ns);
    const Nanos most = look.trips_ns.empty() ? 0 : *std::max_element(look.trips_ns.begin(), look.trips_ns.end());
    facts["round_trip_us"] = trip / kMicrosecond;
    facts["round_trip_max_us"] = most / kMicrosecond;
    facts["connect_us"] = look.connect_ns / kMicrosecond;
    facts["active"] = look.active;
    out.push_back({"hubs", Health::kGood,
                   look.id + " at " + look.address + (look.active ? ", leads" : "") + ": round trip " +
                       duration_words(trip) + ", at most " + duration_words(most) + " of " +
                       std::to_string(look.trips_ns.size()) + "; first answer after " + duration_words(look.connect_ns),
                   "", std::move(facts)});
  }
  if (looks.empty()) return out;
  if (up == 0) {
    out.push_back({"hubs", Health::kBroken, "no hub answers: proofs age, leases lapse, writes wait in the outbox",
                   "start the hubs, or mend the link; what is eventual is served meanwhile", Json::object()});
  } else if (!active) {
    out.push_back({"hubs", up * 2 > looks.size() ? Health::kNote : Health::kBroken,
                   std::to_string(up) + " of " + std::to_string(looks.size()) + " hubs answer, and none of them leads",
                   up * 2 > looks.size() ? "an election may be on: look again in a second"
                                         : "a majority must run; if it is lost for good: docs/operations.md, recover",
                   Json::object()});
  }
  return out;
}

// ------------------------------------------------------------------------------------------------- disk

Findings judge_disk(const DiskFacts& facts) {
  if (!facts.trouble.empty()) {
    return {{"disk", Health::kUnknown, facts.folder + ": " + facts.trouble,
             "run this as the user of the node, who must be able to write there", Json::object()}};
  }
  Findings out;
  const auto add = [&](Health health, std::string what, std::string todo) {
    out.push_back({"disk", health, facts.folder + " " + std::move(what), std::move(todo), Json::object()});
  };
  if (facts.in_memory) {
    add(Health::kBroken, "lies in memory (tmpfs): what is acknowledged as on disk is gone with the power",
        "put data_dir on a disk; only run_dir belongs on tmpfs");
  }
  if (facts.over_network) {
    add(Health::kNote, "lies on a network file system: a sync waits for it, and locks may not hold",
        "put data_dir on a local disk");
  }
  const std::uint64_t tenth = facts.total_bytes / 10;
  if (facts.free_bytes < 64 * kMiB)
    add(Health::kBroken, "has " + bytes_words(facts.free_bytes) + " free: writes are refused soon", "make room");
  else if (facts.free_bytes < kGiB && facts.free_bytes < tenth)
    add(Health::kNote, "has " + bytes_words(facts.free_bytes) + " free of " + bytes_words(facts.total_bytes),
        "make room");
  const Nanos sync = median_of(facts.syncs_ns);
  const Nanos most = facts.syncs_ns.empty() ? 0 : *std::max_element(facts.syncs_ns.begin(), facts.syncs_ns.end());
  if (sync > 50 * kMillisecond) {
    add(Health::kNote,
        "takes " + duration_words(sync) + " for a sync: so long waits each write that is acknowledged from disk",
        "a faster disk, or --ack os where losing the last moments is allowed");
  }
  if (exit_code_of(out) == 0) {
    out.insert(out.begin(),
               {"disk",
                Health::kGood,
                facts.folder + " has " + bytes_words(facts.free_bytes) + " free; a sync takes " + duration_words(sync) +
                    ", at most " + duration_words(most) + " of " + std::to_string(facts.syncs_ns.size()),
                "",
                {{"free_bytes", facts.free_bytes},
                 {"total_bytes", facts.total_bytes},
                 {"sync_us", sync / kMicrosecond},
                 {"sync_max_us", most / kMicrosecond}}});
  }
  return out;
}

// ------------------------------------------------------------------------------------------------- bounds

BoundCost cost_of_bound(Nanos bound, Nanos round_trip, Nanos renewal) {
  BoundCost cost;
  // As EdgeCore::probe_interval (F9): never more often than each 20 ms, never rarer than the lease is renewed.
  cost.interval_ns = std::min(renewal, std::max<Nanos>(20 * kMillisecond, saturating_sub(bound, round_trip) / 3));
  // The oldest a proof gets: a probe is sent after one interval, and its answer comes after a round trip.
  cost.held = bound > 0 && saturating_add(cost.interval_ns, round_trip) <= bound;
  cost.spare = cost.held ? (bound - round_trip) / cost.interval_ns - 1 : 0;
  cost.bytes_a_day = static_cast<std::uint64_t>(kDay * kSecond / cost.interval_ns) * bytes_of_a_probe();
  return cost;
}

Findings judge_bounds(Nanos round_trip, const std::vector<std::pair<std::string, Nanos>>& namespaces, Nanos renewal) {
  Findings out;
  const auto add = [&](const std::string& name, Nanos bound, bool promised) {
    const BoundCost cost = cost_of_bound(bound, round_trip, renewal);
    Json facts{{"bound_ms", bound / kMillisecond},
               {"held", cost.held},
               {"probe_every_us", cost.interval_ns / kMicrosecond},
               {"spare", cost.spare},
               {"bytes_a_day", cost.bytes_a_day}};
    if (!cost.held) {
      // Above a round trip a reader can wait for a proof that is young enough; below none ever is.
      out.push_back({"bounds", promised && bound <= round_trip ? Health::kBroken : Health::kNote,
                     name + ": not held from memory, the round trip is " + duration_words(round_trip) +
                         " and probes are " + duration_words(cost.interval_ns) +
                         " apart: readers wait for the hub or get fallbacks",
                     "ask for " + duration_words(std::max(4 * round_trip, round_trip + 60 * kMillisecond)) +
                         " or more, or bring a hub nearer",
                     std::move(facts)});
      return;
    }
    out.push_back({"bounds", Health::kGood,
                   name + ": a probe each " + duration_words(cost.interval_ns) + ", about " +
                       bytes_words(cost.bytes_a_day) + " a day while it is read; " + std::to_string(cost.spare) +
                       " in a row may be lost",
                   "", std::move(facts)});
  };
  for (const std::int64_t ms : {50, 200, 1000})
    add("a bound of " + std::to_string(ms) + " ms", ms * kMillisecond, false);
  for (const auto& [prefix, bound] : namespaces) {
    if (bound > 0) add("'" + prefix + "' as configured, " + duration_words(bound), bound, true);
  }
  out.push_back({"bounds", Health::kGood,
                 "nobody reads: the lease is renewed each " + duration_words(renewal) + ", about " +
                     bytes_words(cost_of_bound(kForever, round_trip, renewal).bytes_a_day) + " a day",
                 "", Json::object()});
  return out;
}

}  // namespace tidelock
