// Permissions are a bit for each command and subcommand. `+config` sets the bits of its subcommands too, `+config|get`
// that one; a category those of all that are in it, in the order of the rules. What is shown of them (commands_text) is
// found again from the bits: the categories that fit best, then what differs.
#include "wire/resp/acl.h"

#include <algorithm>
#include <array>
#include <bit>
#include <limits>

#include "base/assert.h"
#include "codec/signature.h"
#include "wire/resp/glob.h"
#include "wire/resp/numbers.h"

namespace tidelock {
namespace {

constexpr std::string_view kSyntax = "Syntax error";
constexpr std::string_view kUnknown = "Unknown command or category name in ACL";
constexpr std::string_view kNoSuchPassword = "The password you are trying to remove from the user does not exist";
constexpr std::string_view kBadHash =
    "The password hash must be exactly 64 characters and contain only lowercase hexadecimal characters";
constexpr std::string_view kKeysAfterAll =
    "Adding a pattern after the * pattern (or the 'allkeys' flag) is not valid and does not have any effect. Try "
    "'resetkeys' to start with an empty list of patterns";
constexpr std::string_view kChannelsAfterAll =
    "Adding a pattern after the * pattern (or the 'allchannels' flag) is not valid and does not have any effect. Try "
    "'resetchannels' to start with an empty list of channels";
constexpr std::size_t kFutureBit = kCommandEntriesMax - 1;
constexpr Nanos kSameRefusalTime = 60 * kSecond;
constexpr std::size_t kLogLookedAt = 10;

bool has_spaces(std::string_view text) {
  return std::any_of(text.begin(), text.end(),
                     [](char c) { return c == '\0' || c == ' ' || (c >= '\t' && c <= '\r'); });
}

bool is_hash(std::string_view text) {
  return text.size() == 2 * kSha256Bytes &&
         std::all_of(text.begin(), text.end(), [](char c) { return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f'); });
}

// What a pattern matches for certain: "features:" of "features:*". Of a plain word, itself.
std::string_view literal_prefix(std::string_view glob) { return glob.substr(0, glob.find_first_of("*?[\\")); }

// It matches all that begins with its literal prefix.
bool is_whole_prefix(std::string_view glob) {
  return glob.ends_with('*') && literal_prefix(glob).size() + 1 == glob.size();
}

std::vector<std::string_view> words_of(std::string_view line) {
  std::vector<std::string_view> words;
  while (!line.empty()) {
    const std::size_t end = std::min(line.find(' '), line.size());
    if (end > 0) words.push_back(line.substr(0, end));
    line.remove_prefix(std::min(end + 1, line.size()));
  }
  return words;
}

void join(std::string& text, std::string_view word) {
  if (!text.empty()) text += ' ';
  text += word;
}

}  // namespace

std::string sha256_hex(std::string_view bytes) {
  static constexpr char kHex[] = "0123456789abcdef";
  std::string hex;
  for (const char c : sha256(bytes)) {
    hex += kHex[static_cast<unsigned char>(c) >> 4];
    hex += kHex[static_cast<unsigned char>(c) & 15];
  }
  return hex;
}

// ---- rules ----------------------------------------------------------------------------------------------------------

std::string AclUser::apply(std::string_view rule) {
  const auto is = [&](std::string_view word) { return equal_ignoring_case(rule, word); };
  if (is("on") || is("off")) {
    on_ = is("on");
  } else if (is("nopass")) {
    no_password_ = true;
    passwords_.clear();
  } else if (is("resetpass")) {
    no_password_ = false;
    passwords_.clear();
  } else if (is("allkeys") || rule == "~*") {
    all_keys_ = true;
    keys_.clear();
  } else if (is("resetkeys")) {
    all_keys_ = false;
    keys_.clear();
  } else if (is("allchannels") || rule == "&*") {
    all_channels_ = true;
    channels_.clear();
  } else if (is("resetchannels")) {
    all_channels_ = false;
    channels_.clear();
  } else if (is("allcommands") || is("+@all")) {
    commands_.set();
  } else if (is("nocommands") || is("-@all")) {
    commands_.reset();
  } else if (is("sanitize-payload") || is("skip-sanitize-payload")) {
    payload_ = is("sanitize-payload") ? Payload::kSanitize : Payload::kSkip;
  } else if (is("clearselectors")) {  // there are none
  } else if (is("reset")) {
    *this = AclUser(std::move(name_));
    payload_ = Payload::kSanitize;
  } else if (rule.empty()) {
    return std::string(kSyntax);
  } else {
    switch (rule[0]) {
      case '>':
      case '<':
      case '#':
      case '!': return apply_password(rule);
      case '~':
      case '%': return apply_key_pattern(rule);
      case '&': return apply_channel_pattern(rule);
      case '+':
      case '-': return apply_command(rule);
      default: return std::string(kSyntax);
    }
  }
  return {};
}

std::string AclUser::apply_password(std::string_view rule) {
  const bool hashed = rule[0] == '#' || rule[0] == '!';
  if (hashed && !is_hash(rule.substr(1))) return std::string(kBadHash);
  const std::string digest = hashed ? std::string(rule.substr(1)) : sha256_hex(rule.substr(1));
  const auto found = std::find(passwords_.begin(), passwords_.end(), digest);
  if (rule[0] == '<' || rule[0] == '!') {
    if (found == passwords_.end()) return std::string(kNoSuchPassword);
    passwords_.erase(found);
    return {};
  }
  if (found == passwords_.end()) {
    if (passwords_.size() >= kPasswordsMax) return "The user has too many passwords";
    passwords_.push_back(digest);
  }
  no_password_ = false;
  return {};
}

std::string AclUser::apply_key_pattern(std::string_view rule) {
  if (all_keys_) return std::string(kKeysAfterAll);
  bool read = false, write = false;
  std::string_view rest = rule;
  if (rest[0] == '%') {
    rest.remove_prefix(1);
    for (; !rest.empty() && rest[0] != '~'; rest.remove_prefix(1)) {
      bool& permission = (rest[0] | 0x20) == 'r' ? read : write;
      if (((rest[0] | 0x20) != 'r' && (rest[0] | 0x20) != 'w') || permission) return std::string(kSyntax);
      permission = true;
    }
    if (rest.empty() || (!read && !write)) return std::string(kSyntax);
  } else {
    read = write = true;
  }
  const std::string_view glob = rest.substr(1);
  if (has_spaces(glob) || glob.size() > kGlobPatternBytesMax) return std::string(kSyntax);
  const auto same = std::find_if(keys_.begin(), keys_.end(), [&](const KeyPattern& one) { return one.glob == glob; });
  if (same != keys_.end()) {
    same->read |= read;
    same->write |= write;
    return {};
  }
  if (keys_.size() >= kPatternsMax) return "The user has too many key patterns";
  keys_.push_back({std::string(glob), read, write});
  return {};
}

std::string AclUser::apply_channel_pattern(std::string_view rule) {
  if (all_channels_) return std::string(kChannelsAfterAll);
  const std::string_view glob = rule.substr(1);
  if (has_spaces(glob) || glob.size() > kGlobPatternBytesMax) return std::string(kSyntax);
  if (std::find(channels_.begin(), channels_.end(), glob) != channels_.end()) return {};
  if (channels_.size() >= kPatternsMax) return "The user has too many channel patterns";
  channels_.emplace_back(glob);
  return {};
}

std::string AclUser::apply_command(std::string_view rule) {
  const bool allowed = rule[0] == '+';
  const std::string_view what = rule.substr(1);
  if (what.starts_with('@')) {
    const CategoryBits category = category_bit(what.substr(1));
    if (category == 0) return std::string(kUnknown);
    set_category(commands_, static_cast<std::size_t>(std::countr_zero(category)), allowed);
    return {};
  }
  const CommandLookup command = look_up_name(what);
  if (!command) return std::string(kUnknown);
  set_bits(commands_, command, allowed);
  return {};
}

void AclUser::set_bits(Bits& bits, const CommandLookup& command, bool allowed) {
  bits.set(command.entry(), allowed);
  if (command.sub != nullptr || !is_container(command.spec->id)) return;
  for (const SubcommandSpec& sub : subcommand_table()) {
    if (sub.parent == command.spec->id) bits.set(CommandLookup{command.spec, &sub}.entry(), allowed);
  }
}

// Found once: a listing of a thousand users asks for them many times.
struct AclUser::CategoryMasks {
  static constexpr std::size_t kCount = 21;
  std::array<Bits, kCount> members;  // the commands that are in the category
  std::array<Bits, kCount> reach;    // and all subcommands of those that are containers

  CategoryMasks() {
    TIDELOCK_ASSERT(category_names().size() == kCount);
    for (std::size_t entry = 0; entry < command_entries(); ++entry) {
      const CommandLookup command = lookup_of_entry(entry);
      const CategoryBits categories = categories_of(command);
      for (std::size_t i = 0; i < kCount; ++i) {
        if ((categories >> i & 1u) == 0) continue;
        members[i].set(entry);
        set_bits(reach[i], command, true);
      }
    }
  }
  static const CategoryMasks& get() {
    static const CategoryMasks masks;
    return masks;
  }
};

void AclUser::set_category(Bits& bits, std::size_t category, bool allowed) {
  const Bits& reach = CategoryMasks::get().reach[category];
  bits = allowed ? bits | reach : bits & ~reach;
}

// ---- decisions ------------------------------------------------------------------------------------------------------

bool AclUser::has_password(const std::string& hex_digest) const {
  bool found = no_password_;
  for (const std::string& one : passwords_) found = found | constant_time_equal(hex_digest, one);
  return found;
}

std::optional<AclDenial> AclUser::check(const CommandLookup& command, std::span<const std::string_view> args) const {
  if (unrestricted()) return std::nullopt;
  // A subcommand that no rule could name is the container's, so that nothing slips in beside `+client|id`.
  if (!commands_.test(command.entry()) && (command.flags() & CommandFlag::kNoAuth) == 0) {
    return AclDenial{AclDenial::Reason::kCommand, command.full_name()};
  }
  std::uint64_t work = kGlobWorkDefault;
  std::optional<AclDenial> denied;
  if (!all_keys_) {
    for_each_key(command, args, [&](std::string_view key, std::uint32_t flags) {
      if (may_key(key, flags, &work)) return true;
      denied = AclDenial{AclDenial::Reason::kKey, std::string(key)};
      return false;
    });
    // X4: these name no key and drop every one. (Redis lets them pass.)
    const bool every_key = command.spec->id == RespCommand::kFlushAll || command.spec->id == RespCommand::kFlushDb;
    if (every_key && !may_key({}, KeyFlag::kRM | KeyFlag::kDelete | KeyFlag::kPrefix, &work)) {
      denied = AclDenial{AclDenial::Reason::kKey, "*"};
    }
  }
  if (!denied && !all_channels_) {
    for_each_channel(command, args, [&](std::string_view channel, bool is_pattern) {
      if (may_channel(channel, is_pattern, &work)) return true;
      denied = AclDenial{AclDenial::Reason::kChannel, std::string(channel)};
      return false;
    });
  }
  return denied;
}

bool AclUser::may_key(std::string_view key, std::uint32_t flags, std::uint64_t* work) const {
  const bool reads = (flags & KeyFlag::kReads) != 0, writes = (flags & KeyFlag::kWrites) != 0;
  return std::any_of(keys_.begin(), keys_.end(), [&](const KeyPattern& pattern) {
    if ((reads && !pattern.read) || (writes && !pattern.write)) return false;
    if ((flags & KeyFlag::kPrefix) == 0) return glob_match(pattern.glob, key, work) && *work > 0;
    // All keys that begin so: only what allows everything behind a prefix of it covers them.
    return is_whole_prefix(pattern.glob) && literal_prefix(key).starts_with(literal_prefix(pattern.glob));
  });
}

std::shared_ptr<const ReadableKeys> AclUser::readable_keys() const {
  if (all_keys_) return nullptr;
  auto keys = std::make_shared<ReadableKeys>();
  for (const KeyPattern& pattern : keys_) {
    if (!pattern.read) continue;
    if (is_whole_prefix(pattern.glob)) {
      keys->prefixes_.emplace_back(literal_prefix(pattern.glob));
    } else {
      keys->globs_.push_back(pattern.glob);
    }
  }
  return keys;
}

bool ReadableKeys::contains(std::string_view key, std::uint64_t* work) const {
  for (const std::string& prefix : prefixes_) {
    if (*work == 0) return false;
    --*work;
    if (key.starts_with(prefix)) return true;
  }
  return std::any_of(globs_.begin(), globs_.end(),
                     [&](const std::string& glob) { return glob_match(glob, key, work) && *work > 0; });
}

bool AclUser::may_channel(std::string_view channel, bool is_pattern, std::uint64_t* work) const {
  return std::any_of(channels_.begin(), channels_.end(), [&](const std::string& pattern) {
    return is_pattern ? pattern == channel : glob_match(pattern, channel, work) && *work > 0;
  });
}

// ---- what is shown --------------------------------------------------------------------------------------------------

std::vector<std::string> AclUser::flags() const {
  std::vector<std::string> flags{on_ ? "on" : "off"};
  if (no_password_) flags.emplace_back("nopass");
  if (payload_ == Payload::kSkip) flags.emplace_back("skip-sanitize-payload");
  if (payload_ == Payload::kSanitize) flags.emplace_back("sanitize-payload");
  return flags;
}

std::string AclUser::commands_text() const {
  const bool additive = !commands_.test(kFutureBit);
  std::string text = additive ? "-@all" : "+@all";
  Bits shown, left = commands_;
  if (!additive) shown.set();
  std::vector<bool> applied(category_names().size());
  for (;;) {  // at most once for each category
    std::size_t best = applied.size(), fewest_differ = std::numeric_limits<std::size_t>::max(), most_same = 0;
    for (std::size_t i = 0; i < applied.size(); ++i) {
      if (applied[i]) continue;
      const Bits& members = CategoryMasks::get().members[i];
      const std::size_t on = (left & members).count(), off = members.count() - on;
      const std::size_t differ = additive ? off : on, same = additive ? on : off;
      if (same > differ && (differ < fewest_differ || (differ == fewest_differ && same > most_same))) {
        best = i;
        fewest_differ = differ;
        most_same = same;
      }
    }
    if (best == applied.size()) break;
    applied[best] = true;
    set_category(shown, best, additive);
    set_category(left, best, !additive);
    join(text, std::string(additive ? "+@" : "-@") + std::string(category_names()[best]));
  }
  // A container before its subcommands: `+client -client|kill`.
  const auto correct = [&](const CommandLookup& command) {
    const bool allowed = commands_.test(command.entry());
    if (allowed == shown.test(command.entry())) return;
    set_bits(shown, command, allowed);
    join(text, (allowed ? "+" : "-") + command.full_name());
  };
  for (const CommandSpec& spec : command_table()) {
    correct({&spec});
    if (!is_container(spec.id)) continue;
    for (const SubcommandSpec& sub : subcommand_table()) {
      if (sub.parent == spec.id) correct({&spec, &sub});
    }
  }
  return text;
}

std::string AclUser::keys_text() const {
  if (all_keys_) return "~*";
  std::string text;
  for (const KeyPattern& pattern : keys_) {
    join(text, (pattern.read && pattern.write ? "~" : pattern.read ? "%R~" : "%W~") + pattern.glob);
  }
  return text;
}

std::string AclUser::channels_text() const {
  if (all_channels_) return "&*";
  std::string text;
  for (const std::string& channel : channels_) join(text, "&" + channel);
  return text;
}

std::string AclUser::rules_text() const {
  std::string text;
  for (const std::string& flag : flags()) join(text, flag);
  for (const std::string& password : passwords_) join(text, "#" + password);
  if (const std::string keys = keys_text(); !keys.empty()) join(text, keys);
  if (!all_channels_) join(text, "resetchannels");
  if (const std::string channels = channels_text(); !channels.empty()) join(text, channels);
  join(text, commands_text());
  return text;
}

// ---- all users ------------------------------------------------------------------------------------------------------

Acl::Acl() : default_(std::make_shared<AclUser>("default")) {
  for (const std::string_view rule : {"on", "nopass", "~*", "&*", "+@all"}) {
    const std::string wrong = default_->apply(rule);
    TIDELOCK_ASSERT(wrong.empty());
  }
  users_.emplace("default", default_);
}

void Acl::set_default_password(std::string_view password) {
  std::string wrong = default_->apply("resetpass");
  wrong += default_->apply(password.empty() ? std::string("nopass") : ">" + std::string(password));
  TIDELOCK_ASSERT(wrong.empty());
}

std::shared_ptr<AclUser> Acl::find(std::string_view name) const {
  const auto found = users_.find(name);
  return found == users_.end() ? nullptr : found->second;
}

std::shared_ptr<AclUser> Acl::authenticate(std::string_view name, std::string_view password) const {
  static const AclUser kNobody("");
  const std::string digest = sha256_hex(password);
  const std::shared_ptr<AclUser> user = find(name);
  const bool right = (user ? *user : kNobody).has_password(digest);
  return user && user->enabled() && right ? user : nullptr;
}

// The object stays: connections that are this user follow its new rules at once.
std::string Acl::store(AclUser user) {
  if (const std::shared_ptr<AclUser> known = find(user.name())) {
    *known = std::move(user);
    return {};
  }
  if (users_.size() >= kUsersMax) return "ERR there are " + std::to_string(kUsersMax) + " users already";
  auto fresh = std::make_shared<AclUser>(std::move(user));
  users_.emplace(fresh->name(), fresh);
  return {};
}

std::string Acl::set_user(std::string_view name, std::span<const std::string_view> rules) {
  if (has_spaces(name)) return "ERR Usernames can't contain spaces or null characters";
  if (name.size() > kNameBytesMax) return "ERR Usernames have at most " + std::to_string(kNameBytesMax) + " bytes";
  const std::shared_ptr<AclUser> known = find(name);
  AclUser changed = known ? *known : AclUser(std::string(name));
  for (const std::string_view rule : rules) {
    if (const std::string wrong = changed.apply(rule); !wrong.empty()) {
      return "ERR Error in ACL SETUSER modifier '" + std::string(rule.substr(0, 256)) + "': " + wrong;
    }
  }
  return store(std::move(changed));
}

std::string Acl::replace_user(std::string_view line) {
  const std::vector<std::string_view> words = words_of(line);
  if (words.empty()) return "ERR a user begins with its name";
  AclUser fresh{std::string(words[0].substr(0, kNameBytesMax))};
  for (std::size_t i = 1; i < words.size(); ++i) {
    if (const std::string wrong = fresh.apply(words[i]); !wrong.empty()) {
      return "ERR user '" + fresh.name() + "', rule '" + std::string(words[i].substr(0, 256)) + "': " + wrong;
    }
  }
  return store(std::move(fresh));
}

bool Acl::remove_user(std::string_view name) {
  const auto found = users_.find(name);
  if (found == users_.end() || found->second == default_) return false;
  users_.erase(found);
  return true;
}

bool Acl::note(AclLogEntry entry) {
  bool fresh = true;
  const std::size_t looked_at = std::min(kLogLookedAt, log_.size());
  for (std::size_t i = 0; i < looked_at; ++i) {
    const AclLogEntry& known = log_[i];
    if (known.reason != entry.reason || known.context != entry.context || known.object != entry.object ||
        known.user != entry.user || saturating_sub(entry.at, known.at) > kSameRefusalTime) {
      continue;
    }
    entry.count = known.count;
    fresh = saturating_sub(entry.at, known.told_at) > kSameRefusalTime;  // one that goes on is told of each minute
    entry.told_at = known.told_at;
    log_.erase(log_.begin() + static_cast<std::ptrdiff_t>(i));
    break;
  }
  ++entry.count;
  if (fresh) entry.told_at = entry.at;
  log_.push_front(std::move(entry));
  while (log_.size() > log_max) log_.pop_back();
  return fresh;
}

std::string check_acl_line(std::string_view line) { return Acl().replace_user(line); }

}  // namespace tidelock
