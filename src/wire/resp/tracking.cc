// CLIENT TRACKING: who read which key, and who is told when it changes. Default mode remembers each read in `tracked`,
// until the first change; BCAST remembers prefixes only. The table is bounded: when it is full, some key is invalidated
// early, which costs its readers one read and is never wrong. Readers that are gone stay in it until then, too.
#include <algorithm>
#include <iterator>
#include <utility>

#include "wire/resp/command_access.h"
#include "wire/resp/glob.h"
#include "wire/resp/numbers.h"
#include "wire/resp/server_impl.h"

namespace tidelock {
namespace {

constexpr std::size_t kTrackedOverheadBytes = 160;
constexpr std::size_t kReaderBytes = sizeof(std::uint64_t);
constexpr std::size_t kPrefixBytesMax = 256;
constexpr std::size_t kPrefixOverheadBytes = 192;
constexpr std::size_t kBroadcastBytesMax = 1u << 20;  // gathered before it is sent
constexpr std::string_view kChannel = "__redis__:invalidate";

bool overlap(std::string_view a, std::string_view b) {
  const std::size_t size = std::min(a.size(), b.size());
  return a.substr(0, size) == b.substr(0, size);
}

// `visit` with each key of a command.
template <class Visit>
void visit_keys(const CommandSpec& spec, const Arguments& args, Visit visit) {
  if (spec.first_key == 0) return;
  for_each_key(look_up(args), args, [&](std::string_view key, std::uint32_t) {
    visit(key);
    return true;
  });
}

}  // namespace

void RespServerImpl::client_tracking(RespConnection& c, const Arguments& args, RespReply& reply) {
  RespTracking wanted;
  std::vector<std::string_view> fresh;
  for (std::size_t i = 3; i < args.size(); ++i) {
    const auto is = [&](std::string_view name) { return equal_ignoring_case(args[i], name); };
    const bool more = i + 1 < args.size();
    if (is("REDIRECT") && more) {
      if (wanted.redirect != 0) return reply.error("ERR A client can only redirect to a single other client");
      const auto id = parse_resp_integer(args[++i]);
      if (!id) return reply.error("ERR value is not an integer or out of range");
      wanted.redirect = static_cast<std::uint64_t>(*id);
      if (*id < 1 || !connections.contains(wanted.redirect)) {
        return reply.error("ERR The client ID you want redirect to does not exist");
      }
    } else if (is("BCAST")) {
      wanted.bcast = true;
    } else if (is("OPTIN")) {
      wanted.optin = true;
    } else if (is("OPTOUT")) {
      wanted.optout = true;
    } else if (is("NOLOOP")) {
      wanted.noloop = true;
    } else if (is("PREFIX") && more) {
      fresh.push_back(args[++i]);
    } else {
      return reply.error("ERR syntax error");
    }
  }
  RespTracking& t = c.tracking;
  if (equal_ignoring_case(args[2], "OFF")) {
    stop_tracking(c);
    return reply.ok();
  }
  if (!equal_ignoring_case(args[2], "ON")) return reply.error("ERR syntax error");
  constexpr std::string_view kOtherMode =
      " before disabling tracking for this client, and then re-enabling it with a different mode.";
  if (!wanted.bcast && !fresh.empty()) return reply.error("ERR PREFIX option requires BCAST mode to be enabled");
  if (t.on && t.bcast != wanted.bcast) {
    return reply.error("ERR You can't switch BCAST mode on/off" + std::string(kOtherMode));
  }
  if (wanted.bcast && (wanted.optin || wanted.optout)) {
    return reply.error("ERR OPTIN and OPTOUT are not compatible with BCAST");
  }
  if (wanted.optin && wanted.optout) return reply.error("ERR You can't specify both OPTIN mode and OPTOUT mode");
  if ((wanted.optin && t.optout) || (wanted.optout && t.optin)) {
    return reply.error("ERR You can't switch OPTIN/OPTOUT mode" + std::string(kOtherMode));
  }
  if (const std::string wrong = wrong_prefixes(c, fresh); !wrong.empty()) return reply.error(wrong);

  if (!t.on) ++tracking_count;
  wanted.on = true;
  wanted.caching = t.caching;
  wanted.unread = std::move(t.unread);
  wanted.prefixes = std::move(t.prefixes);
  t = std::move(wanted);
  if (t.bcast && fresh.empty()) fresh.emplace_back();  // every key
  for (const std::string_view prefix : fresh) {
    if (!t.prefixes.emplace(prefix).second) continue;
    prefixes[std::string(prefix)].insert(c.number);
    ++prefix_sizes[prefix.size()];
    c.state_bytes += prefix.size() * 2 + kPrefixOverheadBytes;
  }
  reply.ok();
}

std::string RespServerImpl::wrong_prefixes(const RespConnection& c, const std::vector<std::string_view>& fresh) const {
  if (c.tracking.prefixes.size() + fresh.size() > options.prefixes_max) {
    return "ERR too many prefixes: at most " + std::to_string(options.prefixes_max) + " for a client";
  }
  for (std::size_t i = 0; i < fresh.size(); ++i) {
    if (fresh[i].size() > kPrefixBytesMax) {
      return "ERR the prefix is too long: at most " + std::to_string(kPrefixBytesMax) + " bytes";
    }
    const auto error = [&](std::string_view which, std::string_view other) {
      return "ERR Prefix '" + std::string(fresh[i]) + "' overlaps with " + std::string(which) + " prefix '" +
             std::string(other) + "'. Prefixes for a single client must not overlap.";
    };
    for (const std::string& other : c.tracking.prefixes) {
      if (overlap(fresh[i], other)) return error("an existing", other);
    }
    for (std::size_t j = i + 1; j < fresh.size(); ++j) {
      if (overlap(fresh[i], fresh[j])) return error("another provided", fresh[j]);
    }
  }
  return {};
}

void RespServerImpl::stop_tracking(RespConnection& c) {
  for (const std::string& prefix : c.tracking.prefixes) {
    c.state_bytes -= prefix.size() * 2 + kPrefixOverheadBytes;
    const auto found = prefixes.find(prefix);
    found->second.erase(c.number);
    if (found->second.empty()) prefixes.erase(found);
    const auto size = prefix_sizes.find(prefix.size());
    if (--size->second == 0) prefix_sizes.erase(size);
  }
  if (c.tracking.on) --tracking_count;
  c.tracking = {};
}

void RespServerImpl::client_caching(RespConnection& c, const Arguments& args, RespReply& reply) {
  RespTracking& t = c.tracking;
  if (!t.on) {
    return reply.error(
        "ERR CLIENT CACHING can be called only when the client is in tracking mode with OPTIN or OPTOUT mode enabled");
  }
  const bool yes = equal_ignoring_case(args[2], "YES");
  if (!yes && !equal_ignoring_case(args[2], "NO")) return reply.error("ERR syntax error");
  if (yes && !t.optin) {
    return reply.error("ERR CLIENT CACHING YES is only valid when tracking is enabled in OPTIN mode.");
  }
  if (!yes && !t.optout) {
    return reply.error("ERR CLIENT CACHING NO is only valid when tracking is enabled in OPTOUT mode.");
  }
  t.caching = true;
  reply.ok();
}

void RespServerImpl::client_trackinginfo(const RespConnection& c, RespReply& reply) {
  const RespTracking& t = c.tracking;
  std::vector<std::string_view> flags{t.on ? "on" : "off"};
  if (t.bcast) flags.emplace_back("bcast");
  if (t.optin) flags.emplace_back("optin");
  if (t.optin && t.caching) flags.emplace_back("caching-yes");
  if (t.optout) flags.emplace_back("optout");
  if (t.optout && t.caching) flags.emplace_back("caching-no");
  if (t.noloop) flags.emplace_back("noloop");
  if (t.broken) flags.emplace_back("broken_redirect");
  reply.map(3);
  reply.bulk("flags");
  reply.set(flags.size());
  for (const std::string_view flag : flags) reply.bulk(flag);
  reply.bulk("redirect");
  reply.integer(t.on ? static_cast<std::int64_t>(t.redirect) : -1);
  reply.bulk("prefixes");
  reply.array(t.prefixes.size());
  for (const std::string& prefix : t.prefixes) reply.bulk(prefix);
}

// ---- reads ----------------------------------------------------------------------------------------------------------

void RespServerImpl::note_read(RespConnection& c, const CommandSpec& spec, const Arguments& args) {
  const RespTracking& t = c.tracking;
  if (!t.on || t.bcast || (spec.flags & CommandFlag::kReadOnly) == 0) return;
  if ((t.optin && !t.caching) || (t.optout && t.caching)) return;
  if (!c.deferred) return visit_keys(spec, args, [&](std::string_view key) { remember(c, key); });
  // The value of a single key will be that of the instant when the answer is given: remembering it then is exact, and
  // the fetch that brings it here is no reason to invalidate it. Of several, some may change before the last is there.
  visit_keys(spec, args, [&](std::string_view key) { c.tracking.unread.emplace_back(key); });
  if (c.tracking.unread.size() == 1) return;
  for (const std::string& key : c.tracking.unread) remember(c, key);
}

void RespServerImpl::finish_read(RespConnection& c) {
  const std::vector<std::string> keys = std::exchange(c.tracking.unread, {});
  if (keys.empty() || !c.tracking.on || c.tracking.bcast) return;
  if (keys.size() == 1) return remember(c, keys[0]);
  std::vector<std::string_view> changed;
  for (const std::string& key : keys) {
    const auto found = tracked.find(key);
    const bool still = found != tracked.end() &&
                       std::binary_search(found->second.readers.begin(), found->second.readers.end(), c.number);
    if (!still) changed.push_back(key);
  }
  if (!changed.empty()) send_invalidation(c, &changed);
}

void RespServerImpl::remember(RespConnection& c, std::string_view key) {
  auto it = tracked.find(key);
  if (it == tracked.end()) {
    it = tracked.try_emplace(std::string(key)).first;
    tracked_bytes += key.size() + kTrackedOverheadBytes;
    it->second.expires_at = handler.expires_at(key);
    if (it->second.expires_at != kForever) {
      tracked_bytes += key.size() + kTrackedOverheadBytes;
      tracked_expiries.emplace(it->second.expires_at, key);
      loop.wake_at(expiry_waker, tracked_expiries.begin()->first);
    }
  }
  std::vector<std::uint64_t>& readers = it->second.readers;
  const auto place = std::lower_bound(readers.begin(), readers.end(), c.number);
  if (place == readers.end() || *place != c.number) {
    readers.insert(place, c.number);
    tracked_bytes += kReaderBytes;
  }
  while (!tracked.empty() &&
         (tracked.size() > options.tracking_keys_max || tracked_bytes > options.tracking_bytes_max)) {
    auto victim = tracked.begin();
    if (victim->first == key && tracked.size() > 1) ++victim;
    invalidate(victim->first, 0);
  }
}

// ---- changes --------------------------------------------------------------------------------------------------------

void RespServerImpl::key_changed(std::string_view key, std::uint64_t origin) {
  if (!hears_changes()) return;
  if (origin == 0 && executing != nullptr && executing->handling && executing->tracking.noloop) {
    // A step of the handler may do more than it was asked for: only what the command names is its own doing.
    visit_keys(*executing->current, *executing_args, [&](std::string_view own) {
      if (own == key) origin = executing->number;
    });
  }
  if (const auto found = watchers.find(key); found != watchers.end()) {
    for (const std::uint64_t number : found->second) connections.at(number)->transaction.changed = true;
  }
  for (const auto& [size, count] : prefix_sizes) {
    if (size > key.size()) break;
    const auto found = prefixes.find(key.substr(0, size));
    if (found == prefixes.end()) continue;
    broadcasts[found->first].push_back({std::string(key), origin});
    broadcast_bytes += key.size() + sizeof(Broadcast);
  }
  invalidate(key, origin);
  if (broadcast_bytes > kBroadcastBytesMax) return flush_broadcasts();
  if (broadcasts.empty() || executing != nullptr || broadcasts_scheduled) return;
  broadcasts_scheduled = true;
  loop.soon([weak = weak_from_this()] {
    if (const auto server = weak.lock()) server->flush_broadcasts();
  });
}

void RespServerImpl::keys_changed(const std::function<bool(std::string_view)>& which) {
  for (const auto& [key, numbers] : watchers) {
    if (!which(key)) continue;
    for (const std::uint64_t number : numbers) connections.at(number)->transaction.changed = true;
  }
  std::vector<std::string> changed;
  for (const auto& [key, entry] : tracked) {
    if (which(key)) changed.push_back(key);
  }
  for (const std::string& key : changed) invalidate(key, 0);
  if (prefixes.empty()) return;
  for (const auto& [number, connection] : connections) {  // nobody knows which keys they hold
    if (connection->tracking.bcast) send_invalidation(*connection, nullptr);
  }
}

void RespServerImpl::all_keys_changed() {
  if (!hears_changes()) return;
  for (const auto& [key, numbers] : watchers) {
    for (const std::uint64_t number : numbers) connections.at(number)->transaction.changed = true;
  }
  tracked.clear();
  tracked_expiries.clear();
  tracked_bytes = 0;
  broadcasts.clear();
  broadcast_bytes = 0;
  if (tracking_count == 0) return;
  for (const auto& [number, connection] : connections) {
    if (connection->tracking.on) send_invalidation(*connection, nullptr);
  }
}

void RespServerImpl::invalidate(std::string_view key, std::uint64_t origin) {
  const auto it = tracked.find(key);
  if (it == tracked.end()) return;
  const auto entry = tracked.extract(it);  // `key` may be a view of its name
  const Tracked& was = entry.mapped();
  tracked_bytes -= entry.key().size() + kTrackedOverheadBytes + was.readers.size() * kReaderBytes;
  if (was.expires_at != kForever && tracked_expiries.erase({was.expires_at, entry.key()}) > 0) {
    tracked_bytes -= entry.key().size() + kTrackedOverheadBytes;
  }
  const std::vector<std::string_view> keys{entry.key()};
  for (const std::uint64_t number : was.readers) {
    const auto found = connections.find(number);
    if (found == connections.end()) continue;
    const RespTracking& t = found->second->tracking;
    if (t.on && !t.bcast && !(t.noloop && number == origin)) send_invalidation(*found->second, &keys);
  }
}

void RespServerImpl::send_invalidation(RespConnection& c, const std::vector<std::string_view>* keys) {
  RespConnection* to = &c;
  std::string bytes;
  if (c.tracking.redirect != 0) {
    const auto found = connections.find(c.tracking.redirect);
    if (found == connections.end()) {
      c.tracking.broken = true;
      if (c.protocol_version < 3) return;
      RespReply out(bytes, c.protocol_version);
      out.push(2);
      out.bulk("tracking-redir-broken");
      out.integer(static_cast<std::int64_t>(c.tracking.redirect));
      return push_to(c, bytes);
    }
    to = found->second.get();
  }
  RespReply out(bytes, to->protocol_version);
  if (to->protocol_version >= 3) {
    out.push(2);
    out.bulk("invalidate");
  } else if (to != &c && to->subscriptions() > 0) {
    out.push(3);
    out.bulk("message");
    out.bulk(kChannel);
  } else {
    return;  // there is no way to say it in RESP2
  }
  if (keys == nullptr) {
    out.null();
  } else {
    out.array(keys->size());
    for (const std::string_view key : *keys) out.bulk(key);
  }
  push_to(*to, bytes);
}

void RespServerImpl::flush_broadcasts() {
  broadcasts_scheduled = false;
  if (broadcasts.empty()) return;
  auto due = std::exchange(broadcasts, {});
  broadcast_bytes = 0;
  for (auto& [prefix, changes] : due) {
    const auto found = prefixes.find(prefix);
    if (found == prefixes.end()) continue;
    // One mention of a key, in order; by several origins: as if by nobody.
    std::sort(changes.begin(), changes.end(), [](const auto& a, const auto& b) { return a.key < b.key; });
    std::vector<std::pair<std::string_view, std::uint64_t>> unique;
    for (const Broadcast& change : changes) {
      if (unique.empty() || unique.back().first != change.key) {
        unique.emplace_back(change.key, change.origin);
      } else if (unique.back().second != change.origin) {
        unique.back().second = 0;
      }
    }
    for (const std::uint64_t number : found->second) {
      RespConnection& reader = *connections.at(number);
      const auto readable = reader.readable_keys();  // X4
      std::uint64_t work = kGlobWorkDefault;
      std::vector<std::string_view> keys;
      for (const auto& [key, origin] : unique) {
        if (reader.tracking.noloop && origin == number) continue;
        if (readable == nullptr || readable->contains(key, &work)) keys.push_back(key);
      }
      if (work == 0) {  // X6: its patterns cost too much; "everything changed" names nothing and leaves nothing out
        send_invalidation(reader, nullptr);
      } else if (!keys.empty()) {
        send_invalidation(reader, &keys);
      }
    }
  }
}

void RespServerImpl::expire_tracked(Nanos now) {
  while (!tracked_expiries.empty() && tracked_expiries.begin()->first <= now) {
    const auto due = tracked_expiries.extract(tracked_expiries.begin());
    tracked_bytes -= due.value().second.size() + kTrackedOverheadBytes;
    invalidate(due.value().second, 0);
  }
  loop.wake_at(expiry_waker, tracked_expiries.empty() ? kForever : tracked_expiries.begin()->first);
}

}  // namespace tidelock
