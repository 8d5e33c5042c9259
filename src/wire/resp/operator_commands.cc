// What an operator asks a server: SLOWLOG, LATENCY, the syntax of MEMORY, TIME, FUNCTION, SHUTDOWN; and the counting
// behind them. Texts and shapes are those of Redis 7.0.
#include <algorithm>
#include <string>

#include "base/wall_clock.h"
#include "wire/resp/command_answers.h"
#include "wire/resp/numbers.h"
#include "wire/resp/server_impl.h"

namespace tidelock {
namespace {

constexpr std::string_view kNotAnInteger = "ERR value is not an integer or out of range";

std::int64_t unix_seconds_now() { return static_cast<std::int64_t>(wall_ms_now() / 1000); }

std::string wrong_arguments(std::string_view command, std::string_view subcommand) {
  return "ERR unknown subcommand or wrong number of arguments for '" + std::string(subcommand.substr(0, 128)) +
         "'. Try " + std::string(command) + " HELP.";
}

constexpr std::string_view kSlowlogHelp[] = {
    "SLOWLOG <subcommand> [<arg> [value] [opt] ...]. Subcommands are:",
    "GET [<count>]",
    "    Return top <count> entries from the slowlog (default: 10, -1 mean all).",
    "    Entries are made of:",
    "    id, timestamp, time in microseconds, arguments array, client IP and port,",
    "    client name",
    "LEN",
    "    Return the length of the slowlog.",
    "RESET",
    "    Reset the slowlog."};

constexpr std::string_view kLatencyHelp[] = {
    "LATENCY <subcommand> [<arg> [value] [opt] ...]. Subcommands are:",
    "DOCTOR",
    "    Return a human readable latency analysis report.",
    "HISTORY <event>",
    "    Return time-latency samples for the <event> class.",
    "LATEST",
    "    Return the latest latency samples for all events.",
    "RESET [<event> ...]",
    "    Reset latency data of one or more <event> classes.",
    "    (default: reset all data for all event classes)",
    "HISTOGRAM [COMMAND ...]",
    "    Return a cumulative distribution of latencies in the format of a histogram for the specified command names.",
    "    If no commands are specified then all histograms are replied."};

constexpr std::string_view kMemoryHelp[] = {"MEMORY <subcommand> [<arg> [value] [opt] ...]. Subcommands are:",
                                            "DOCTOR",
                                            "    Return memory problems reports.",
                                            "PURGE",
                                            "    Attempt to purge dirty pages for reclamation by the allocator.",
                                            "STATS",
                                            "    Return information about the memory usage of the server.",
                                            "USAGE <key> [SAMPLES <count>]",
                                            "    Return memory in bytes used by <key> and its value. Nested values are",
                                            "    sampled up to <count> times (default: 5, 0 means sample all)."};

constexpr std::string_view kFunctionHelp[] = {
    "FUNCTION <subcommand> [<arg> [value] [opt] ...]. Subcommands are:", "LIST [LIBRARYNAME PATTERN] [WITHCODE]",
    "    There are no libraries: the list is empty.", "FLUSH [ASYNC|SYNC]",
    "    There are no libraries: nothing is deleted."};

std::string milliseconds_text(Nanos took) {
  std::string text = std::to_string(took / kMillisecond);
  const Nanos tenth = took % kMillisecond / (kMillisecond / 10);
  return text + "." + std::to_string(tenth) + " ms";
}

}  // namespace

// ---- counting -------------------------------------------------------------------------------------------------------

void RespServerImpl::note_error(std::string_view text) {
  ++stats.errors_total;
  statistics.error(text);
}

// After every command. One reading of the clock each: a command began when the one before it ended.
void RespServerImpl::observe(RespConnection& c, const CommandLookup& command, const Arguments& args, std::size_t before,
                             bool ran) {
  const bool failed = c.out.size() > before && c.out[before] == '-';
  if (failed) note_error(std::string_view(c.out).substr(before + 1));
  const Nanos began = command_began;
  command_began = cheap_now();
  if (!command || command.unknown_subcommand) return;
  if (!ran) return statistics.rejected(command.entry());
  if (!c.deferred) {
    const Nanos took =
        std::max<Nanos>(saturating_sub(command_began, began), 0);  // a cheap clock may step back a little
    const bool keeps = slow_log.wants(took);
    return finished(c, command, took, failed || c.held_until != kForever,
                    keeps ? SlowLog::cut(args) : std::vector<std::string>{});
  }
  c.pending = command;
  c.pending_began = began;
  c.pending_args = slow_log.slower_than_us >= 0 ? SlowLog::cut(args) : std::vector<std::string>{};
}

void RespServerImpl::finished(const RespConnection& c, const CommandLookup& command, Nanos took, bool failed,
                              std::vector<std::string> args) {
  statistics.ran(command.entry(), took, failed);
  if (slow_log.wants(took) && !args.empty() && command.spec->id != RespCommand::kExec) {
    SlowLogEntry entry;
    entry.unix_seconds = unix_seconds_now();
    entry.microseconds = took / 1000;
    entry.args = std::move(args);
    entry.peer = c.unix_socket ? c.peer_text + ":0" : c.peer_text;
    entry.client_name = c.client_name;
    slow_log.add(std::move(entry));
  }
  if (latency_events.wants(took)) {
    const bool fast = (command.flags() & CommandFlag::kFast) != 0;
    latency_events.add(fast ? "fast-command" : "command", unix_seconds_now(), took / kMillisecond);
  }
}

// ---- SLOWLOG --------------------------------------------------------------------------------------------------------

void RespServerImpl::slowlog(const Arguments& args, RespReply& reply) {
  const auto is = [&](std::string_view name) { return equal_ignoring_case(args[1], name); };
  const auto& entries = slow_log.entries();
  if (is("LEN")) {
    reply.integer(static_cast<std::int64_t>(entries.size()));
  } else if (is("RESET")) {
    slow_log.reset();
    reply.ok();
  } else if (is("HELP")) {
    write_help(kSlowlogHelp, reply);
  } else if (is("GET")) {
    if (args.size() > 3) return reply.error(wrong_arguments("SLOWLOG", args[1]));
    std::size_t count = 10;
    if (args.size() == 3) {
      const auto wanted = parse_resp_integer(args[2]);
      if (!wanted || *wanted < -1) return reply.error("ERR count should be greater than or equal to -1");
      count = *wanted == -1 ? entries.size() : static_cast<std::size_t>(*wanted);
    }
    count = std::min(count, entries.size());
    reply.array(count);
    for (std::size_t i = 0; i < count; ++i) {
      const SlowLogEntry& entry = entries[i];
      reply.array(6);
      reply.integer(static_cast<std::int64_t>(entry.id));
      reply.integer(entry.unix_seconds);
      reply.integer(entry.microseconds);
      reply.array(entry.args.size());
      for (const std::string& arg : entry.args) reply.bulk(arg);
      reply.bulk(entry.peer);
      reply.bulk(entry.client_name);
    }
  } else {
    reply.error(unknown_subcommand_error("slowlog", args[1]));
  }
}

// ---- LATENCY --------------------------------------------------------------------------------------------------------

void RespServerImpl::latency_histogram(const Arguments& args, RespReply& reply) {
  std::vector<std::size_t> wanted;
  const auto want = [&](std::size_t entry) {
    if (statistics.of(entry).histogram && wanted.size() < 4 * kCommandEntriesMax) wanted.push_back(entry);
  };
  for (std::size_t entry = 0; args.size() == 2 && entry < command_entries(); ++entry) want(entry);
  for (std::size_t i = 2; i < args.size(); ++i) {
    const CommandLookup command = look_up_name(args[i]);
    if (!command) continue;
    want(command.entry());
    if (command.sub != nullptr || !is_container(command.spec->id)) continue;
    for (const SubcommandSpec& sub : subcommand_table()) {
      if (sub.parent == command.spec->id) want(CommandLookup{command.spec, &sub}.entry());
    }
  }
  reply.map(wanted.size());
  for (const std::size_t entry : wanted) {
    const LatencyHistogram& histogram = *statistics.of(entry).histogram;
    std::vector<std::pair<std::int64_t, std::uint64_t>> levels;
    histogram.cumulative([&](std::int64_t us, std::uint64_t count) { levels.emplace_back(us, count); });
    reply.bulk(lookup_of_entry(entry).full_name());
    reply.map(2);
    reply.bulk("calls");
    reply.integer(static_cast<std::int64_t>(histogram.count()));
    reply.bulk("histogram_usec");
    reply.map(levels.size());
    for (const auto& [us, count] : levels) {
      reply.integer(us);
      reply.integer(static_cast<std::int64_t>(count));
    }
  }
}

std::string RespServerImpl::latency_report() const {
  std::size_t slowest = kCommandEntriesMax;
  Nanos longest = 0;
  std::uint64_t calls = 0;
  for (std::size_t entry = 0; entry < command_entries(); ++entry) {
    const CommandCounters& counters = statistics.of(entry);
    if (!counters.histogram) continue;
    calls += counters.calls;
    const Nanos p99 = counters.histogram->percentile(99);
    if (slowest != kCommandEntriesMax && p99 <= longest) continue;
    slowest = entry;
    longest = p99;
  }
  if (calls == 0) return "No command has run since the statistics were reset, so there is nothing to judge.\n";
  std::string text = std::to_string(calls) + " commands ran since the statistics were reset; the slowest kind is '" +
                     lookup_of_entry(slowest).full_name() + "', of which 99 in 100 were answered within " +
                     milliseconds_text(longest) + ", the wait for a hub included. ";
  if (latency_events.threshold_ms == 0) {
    text += "Single slow commands are not watched: CONFIG SET latency-monitor-threshold <milliseconds> does that. ";
  } else if (latency_events.events().empty()) {
    text += "None took " + std::to_string(latency_events.threshold_ms) + " ms or more. ";
  }
  for (const auto& [name, event] : latency_events.events()) {
    text += "Event '" + name + "': " + std::to_string(event.samples.size()) + " seconds with one of " +
            std::to_string(latency_events.threshold_ms) + " ms or more, the longest " +
            std::to_string(event.longest_ms) + " ms. ";
  }
  return text + "The slow log holds " + std::to_string(slow_log.entries().size()) +
         " commands; SLOWLOG GET shows them with their arguments.\n";
}

void RespServerImpl::latency(const Arguments& args, RespReply& reply) {
  const auto is = [&](std::string_view name) { return equal_ignoring_case(args[1], name); };
  const auto& events = latency_events.events();
  if (is("HISTOGRAM")) {
    latency_histogram(args, reply);
  } else if (is("LATEST")) {
    reply.array(events.size());
    for (const auto& [name, event] : events) {
      reply.array(4);
      reply.bulk(name);
      reply.integer(event.samples.back().unix_seconds);
      reply.integer(event.samples.back().milliseconds);
      reply.integer(event.longest_ms);
    }
  } else if (is("HISTORY")) {
    const auto found = events.find(args[2]);
    reply.array(found == events.end() ? 0 : found->second.samples.size());
    if (found == events.end()) return;
    for (const LatencySample& sample : found->second.samples) {
      reply.array(2);
      reply.integer(sample.unix_seconds);
      reply.integer(sample.milliseconds);
    }
  } else if (is("RESET")) {
    std::size_t gone = args.size() == 2 ? latency_events.reset_all() : 0;
    for (std::size_t i = 2; i < args.size(); ++i) gone += latency_events.reset(args[i]);
    reply.integer(static_cast<std::int64_t>(gone));
  } else if (is("DOCTOR")) {
    reply.verbatim("txt", latency_report());
  } else if (is("HELP")) {
    write_help(kLatencyHelp, reply);
  } else {
    reply.error(unknown_subcommand_error("latency", args[1]));
  }
}

// ---- the rest -------------------------------------------------------------------------------------------------------

bool RespServerImpl::memory(const Arguments& args, RespReply& reply) {
  const auto is = [&](std::string_view name) { return equal_ignoring_case(args[1], name); };
  if (is("DOCTOR") || is("STATS") || is("PURGE")) return false;
  if (is("HELP")) {
    write_help(kMemoryHelp, reply);
  } else if (is("USAGE")) {
    for (std::size_t i = 3; i < args.size(); i += 2) {
      const bool samples = equal_ignoring_case(args[i], "SAMPLES") && i + 1 < args.size();
      const auto count = samples ? parse_resp_integer(args[i + 1]) : std::nullopt;
      if (samples && !count) {
        reply.error(kNotAnInteger);
        return true;
      }
      if (!samples || *count < 0) {
        reply.error("ERR syntax error");
        return true;
      }
    }
    return false;
  } else {
    reply.error(unknown_subcommand_error("memory", args[1]));
  }
  return true;
}

void RespServerImpl::tell_time(RespReply& reply) {
  const std::uint64_t us = wall_us_now();
  reply.array(2);
  reply.bulk(std::to_string(us / 1'000'000));
  reply.bulk(std::to_string(us % 1'000'000));
}

// There are no functions; what would delete or list them has nothing to do.
void RespServerImpl::function(const Arguments& args, RespReply& reply) {
  const auto is = [&](std::string_view name) { return equal_ignoring_case(args[1], name); };
  if (is("FLUSH")) {
    if (args.size() > 3) return reply.error(wrong_arguments("FUNCTION", args[1]));
    if (args.size() == 3 && !equal_ignoring_case(args[2], "SYNC") && !equal_ignoring_case(args[2], "ASYNC")) {
      return reply.error("ERR FUNCTION FLUSH only supports SYNC|ASYNC option");
    }
    reply.ok();
  } else if (is("LIST")) {
    bool with_code = false, with_name = false;
    for (std::size_t i = 2; i < args.size(); ++i) {
      if (!with_code && equal_ignoring_case(args[i], "WITHCODE")) {
        with_code = true;
      } else if (!with_name && equal_ignoring_case(args[i], "LIBRARYNAME")) {
        with_name = true;
        if (++i == args.size()) return reply.error("ERR library name argument was not given");
      } else {
        return reply.error("ERR Unknown argument " + std::string(args[i].substr(0, 128)));
      }
    }
    reply.array(0);
  } else if (is("HELP")) {
    write_help(kFunctionHelp, reply);
  } else {
    reply.error(unknown_subcommand_error("function", args[1]));
  }
}

void RespServerImpl::shutdown(RespConnection& connection, const Arguments& args, RespReply& reply) {
  bool save = false, no_save = false, abort = false;
  for (std::size_t i = 1; i < args.size(); ++i) {
    const auto is = [&](std::string_view name) { return equal_ignoring_case(args[i], name); };
    save |= is("SAVE");
    no_save |= is("NOSAVE");
    abort |= is("ABORT");
    if (!is("SAVE") && !is("NOSAVE") && !is("ABORT") && !is("NOW") && !is("FORCE")) {
      return reply.error("ERR syntax error");
    }
  }
  if ((save && no_save) || (abort && args.size() > 2)) return reply.error("ERR syntax error");
  if (abort) return reply.error("ERR No shutdown in progress.");
  if (const auto why = handler.shutdown()) return reply.error(*why);
  connection.close_when_sent = true;  // as Redis: no answer, the connection ends
}

std::string RespServerImpl::statistics_section(std::string_view name) const {
  if (equal_ignoring_case(name, "commandstats")) return statistics.commandstats();
  if (equal_ignoring_case(name, "errorstats")) return statistics.errorstats();
  if (equal_ignoring_case(name, "latencystats")) return statistics.latencystats();
  return {};
}

}  // namespace tidelock
