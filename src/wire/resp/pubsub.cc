// Publish and subscribe among the clients of this edge. A message goes to every subscriber in the turn that published
// it; nothing is kept for those who come later.
#include <algorithm>
#include <utility>

#include "wire/resp/glob.h"
#include "wire/resp/numbers.h"
#include "wire/resp/server_impl.h"

namespace tidelock {
namespace {

constexpr std::size_t kPatternsOfOneMax = 1'024;
constexpr std::size_t kSubscriptionOverheadBytes = 192;  // in the connection's list and in the server's

constexpr std::string_view kHelp[] = {"PUBSUB <subcommand> [<arg> [value] [opt] ...]. Subcommands are:",
                                      "CHANNELS [<pattern>]",
                                      "    Return the currently active channels matching a <pattern> (default: '*').",
                                      "NUMPAT",
                                      "    Return number of subscriptions to patterns.",
                                      "NUMSUB [<channel> ...]",
                                      "    Return the number of subscribers for the specified channels, excluding",
                                      "    pattern subscriptions(default: no channels).",
                                      "HELP",
                                      "    Prints this help."};

}  // namespace

void RespServerImpl::subscribe(RespConnection& c, const Arguments& args, bool pattern, RespReply& reply) {
  if (pattern) {
    std::size_t fresh = 0;
    for (std::size_t i = 1; i < args.size(); ++i) {
      if (args[i].size() > kGlobPatternBytesMax) return reply.error("ERR the pattern is too long");
      fresh += patterns.contains(std::string(args[i])) ? 0 : 1;
    }
    // X6: every message is matched against all of them.
    if (c.patterns.size() + args.size() - 1 > kPatternsOfOneMax) {
      return reply.error("ERR too many patterns: at most " + std::to_string(kPatternsOfOneMax) + " of one client");
    }
    if (patterns.size() + fresh > options.patterns_max) {
      return reply.error("ERR too many patterns: at most " + std::to_string(options.patterns_max) +
                         " are matched against a message");
    }
  }
  for (std::size_t i = 1; i < args.size(); ++i) {
    const std::string name(args[i]);
    if ((pattern ? c.patterns : c.channels).insert(name).second) {
      (pattern ? patterns[name] : channels[name]).insert(c.number);
      c.state_bytes += name.size() * 2 + kSubscriptionOverheadBytes;
    }
    reply.push(3);
    reply.bulk(pattern ? "psubscribe" : "subscribe");
    reply.bulk(name);
    reply.integer(static_cast<std::int64_t>(c.subscriptions()));
  }
}

void RespServerImpl::drop_subscription(RespConnection& c, const std::string& name, bool pattern) {
  if ((pattern ? c.patterns : c.channels).erase(name) == 0) return;
  c.state_bytes -= name.size() * 2 + kSubscriptionOverheadBytes;
  const auto forget = [&](auto& names) {
    const auto found = names.find(name);
    found->second.erase(c.number);
    if (found->second.empty()) names.erase(found);
  };
  pattern ? forget(patterns) : forget(channels);
}

void RespServerImpl::unsubscribe(RespConnection& c, const Arguments& args, bool pattern, RespReply& reply) {
  const RespNames& own = pattern ? c.patterns : c.channels;
  std::vector<std::string> names(args.begin() + 1, args.end());
  if (names.empty()) names.assign(own.begin(), own.end());
  const std::string_view kind = pattern ? "punsubscribe" : "unsubscribe";
  for (const std::string& name : names) {
    drop_subscription(c, name, pattern);
    reply.push(3);
    reply.bulk(kind);
    reply.bulk(name);
    reply.integer(static_cast<std::int64_t>(c.subscriptions()));
  }
  if (!names.empty()) return;
  reply.push(3);
  reply.bulk(kind);
  reply.null();
  reply.integer(static_cast<std::int64_t>(c.subscriptions()));
}

void RespServerImpl::unsubscribe_all(RespConnection& c) {
  while (!c.channels.empty()) drop_subscription(c, std::string(*c.channels.begin()), false);
  while (!c.patterns.empty()) drop_subscription(c, std::string(*c.patterns.begin()), true);
}

void RespServerImpl::publish(RespConnection& c, const Arguments& args, RespReply& reply) {
  const std::string_view channel = args[1], message = args[2];
  // All matching comes before the first delivery: a refused message reached nobody.
  std::vector<std::pair<const std::string*, const std::set<std::uint64_t>*>> matched;
  std::uint64_t work = kGlobWorkDefault;
  for (const auto& [pattern, subscribers] : patterns) {
    if (glob_match(pattern, channel, &work)) matched.emplace_back(&pattern, &subscribers);
    if (work == 0) return reply.error("ERR the patterns of the subscribers take too long for this channel name");
  }
  std::int64_t receivers = 0;
  const auto deliver = [&](const std::set<std::uint64_t>& subscribers, const std::string* pattern) {
    std::string encoded[2];  // RESP2, RESP3
    for (const std::uint64_t number : subscribers) {
      RespConnection& to = *connections.at(number);
      std::string& bytes = encoded[to.protocol_version - 2];
      if (bytes.empty()) {
        RespReply out(bytes, to.protocol_version);
        out.push(pattern != nullptr ? 4 : 3);
        out.bulk(pattern != nullptr ? "pmessage" : "message");
        if (pattern != nullptr) out.bulk(*pattern);
        out.bulk(channel);
        out.bulk(message);
      }
      ++receivers;
      // To itself: before the answer, as Redis does, where an answer is to be had.
      const bool in_front = &to == &c && !c.transaction.running && !c.skips && c.reply_mode == RespReplyMode::kOn;
      if (!in_front) {
        push_to(to, bytes);
      } else if (c.unsent() + bytes.size() <= options.output_hard_bytes) {
        reply.raw(bytes);
      } else if (!c.overflowed) {  // X6
        c.overflowed = true;
        enqueue(c);
      }
    }
  };
  if (const auto found = channels.find(channel); found != channels.end()) deliver(found->second, nullptr);
  for (const auto& [pattern, subscribers] : matched) deliver(*subscribers, pattern);
  reply.integer(receivers);
}

void RespServerImpl::pubsub(const RespConnection& c, const Arguments& args, RespReply& reply) {
  const auto is = [&](std::string_view name) { return equal_ignoring_case(args[1], name); };
  if (is("CHANNELS")) {
    if (args.size() > 3) {
      return reply.error("ERR unknown subcommand or wrong number of arguments for '" +
                         std::string(args[1].substr(0, 128)) + "'. Try PUBSUB HELP.");
    }
    if (args.size() == 3 && args[2].size() > kGlobPatternBytesMax) return reply.error("ERR the pattern is too long");
    std::vector<std::string_view> found;
    std::uint64_t work = kGlobWorkDefault;
    for (const auto& [name, subscribers] : channels) {
      const bool asked = args.size() == 2 || glob_match(args[2], name, &work);
      if (asked && c.user->may_see_channel(name, &work)) found.push_back(name);  // X4
      if (work == 0) return reply.error("ERR the pattern takes too long; make it simpler");
    }
    reply.array(found.size());
    for (const std::string_view name : found) reply.bulk(name);
  } else if (is("NUMSUB")) {
    reply.array((args.size() - 2) * 2);
    for (std::size_t i = 2; i < args.size(); ++i) {
      const auto found = channels.find(args[i]);
      reply.bulk(args[i]);
      reply.integer(found == channels.end() ? 0 : static_cast<std::int64_t>(found->second.size()));
    }
  } else if (is("NUMPAT")) {
    if (args.size() != 2) return reply.error(wrong_arity_error("pubsub|numpat"));
    reply.integer(static_cast<std::int64_t>(patterns.size()));
  } else if (is("HELP")) {
    if (args.size() != 2) return reply.error(wrong_arity_error("pubsub|help"));
    reply.array(std::size(kHelp));
    for (const std::string_view line : kHelp) reply.simple(line);
  } else {
    reply.error(unknown_subcommand_error("pubsub", args[1]));
  }
}

}  // namespace tidelock
