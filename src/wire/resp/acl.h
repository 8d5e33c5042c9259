// Who may do what: users, their passwords (as SHA-256 only) and their permissions, and the log of what was refused.
// A namespace is a prefix of keys, so permission by namespace is a key pattern: `~features:*`.
//
// Rules:    those of Redis 7.0 but selectors `(...)` and first arguments `+select|0`, which are refused as unknown.
// Default:  the user `default` is whom a connection is until it authenticates. It begins with everything allowed and no
//           password needed; its password is requirepass.
// Threads:  one. Cost: an allowed command of a user without restrictions is one comparison; of another, a bit and a
// glob
//           per key and pattern, within kGlobWorkDefault steps a command: beyond that it is refused.
// Limits:   kUsersMax users; of one: kPatternsMax patterns and as many channels, kPasswordsMax passwords.
// Security: X4: passwords are compared by all their hashes in constant time, unknown users cost what known ones do.
#pragma once

#include <bitset>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/time.h"
#include "wire/resp/command_access.h"

namespace tidelock {

struct AclDenial {
  enum class Reason : std::uint8_t { kCommand, kKey, kChannel };
  Reason reason;
  std::string object;  // "config|get", the key, the channel
};

// The keys that a user may read, by its rules as they were at one instant (X4): for listings, which another thread may
// make meanwhile. It never changes; any thread.
class ReadableKeys {
 public:
  // At most |patterns| looks at the key, and the steps of their globs, are taken from `*work`. When it reaches 0 the
  // answer is false and means nothing.
  bool contains(std::string_view key, std::uint64_t* work) const;

 private:
  friend class AclUser;
  std::vector<std::string> prefixes_, globs_;  // of `feature:*` the first part; all other patterns
};

class AclUser {
 public:
  static constexpr std::size_t kPatternsMax = 1024;
  static constexpr std::size_t kPasswordsMax = 64;

  explicit AclUser(std::string name) : name_(std::move(name)) {}

  const std::string& name() const { return name_; }
  bool enabled() const { return on_; }
  bool no_password() const { return no_password_; }
  bool unrestricted() const { return all_keys_ && all_channels_ && commands_.all(); }

  // What is wrong with the rule, empty when it was taken.
  std::string apply(std::string_view rule);
  bool has_password(const std::string& hex_digest) const;  // looks at all of them, whatever it finds

  // nullopt: allowed. The arity of `command` fits.
  std::optional<AclDenial> check(const CommandLookup& command, std::span<const std::string_view> args) const;

  // Null: all keys. Else O(patterns).
  std::shared_ptr<const ReadableKeys> readable_keys() const;
  // Whether a listing of channels may name it; steps are taken from `*work` as above.
  bool may_see_channel(std::string_view channel, std::uint64_t* work) const {
    return all_channels_ || may_channel(channel, false, work);
  }

  // As ACL GETUSER and ACL LIST show them.
  std::vector<std::string> flags() const;
  const std::vector<std::string>& passwords() const { return passwords_; }
  std::string commands_text() const;
  std::string keys_text() const;
  std::string channels_text() const;
  std::string rules_text() const;  // all of it, without the name: what `apply` takes, word by word

 private:
  enum class Payload : std::uint8_t { kUnsaid, kSanitize, kSkip };
  struct KeyPattern {
    std::string glob;
    bool read, write;
  };
  using Bits = std::bitset<kCommandEntriesMax>;  // the bit of an entry that no command has: commands still to come
  struct CategoryMasks;
  static void set_bits(Bits& bits, const CommandLookup& command, bool allowed);
  static void set_category(Bits& bits, std::size_t category, bool allowed);
  std::string apply_command(std::string_view rule);
  std::string apply_password(std::string_view rule);
  std::string apply_key_pattern(std::string_view rule);
  std::string apply_channel_pattern(std::string_view rule);
  bool may_key(std::string_view key, std::uint32_t flags, std::uint64_t* work) const;
  bool may_channel(std::string_view channel, bool is_pattern, std::uint64_t* work) const;

  std::string name_;
  bool on_ = false, no_password_ = false, all_keys_ = false, all_channels_ = false;
  Payload payload_ = Payload::kUnsaid;
  std::vector<std::string> passwords_;  // hex digests
  Bits commands_;
  std::vector<KeyPattern> keys_;
  std::vector<std::string> channels_;
};

struct AclLogEntry {
  std::int64_t count = 0;
  std::string reason, context, object, user, client;
  Nanos at = 0;       // last
  Nanos told_at = 0;  // when it last was news: note() said true
};

class Acl {
 public:
  static constexpr std::size_t kUsersMax = 1024;
  static constexpr std::size_t kNameBytesMax = 128;

  Acl();

  const std::shared_ptr<AclUser>& default_user() const { return default_; }
  bool open() const { return default_->enabled() && default_->no_password(); }  // nobody needs to authenticate
  void set_default_password(std::string_view password);                         // requirepass; empty: none needed
  std::shared_ptr<AclUser> find(std::string_view name) const;
  const std::map<std::string, std::shared_ptr<AclUser>, std::less<>>& users() const { return users_; }

  // Null: no such user, disabled, or not its password.
  std::shared_ptr<AclUser> authenticate(std::string_view name, std::string_view password) const;
  // All rules or none. Empty when taken, else the answer to the client.
  std::string set_user(std::string_view name, std::span<const std::string_view> rules);
  // A line of a configuration file, "alice on #... ~features:* +@read": replaces the user. Errors as set_user.
  std::string replace_user(std::string_view line);
  bool remove_user(std::string_view name);

  // Refusals of late, the newest first; the same within a minute counts as one. True: it is another one.
  bool note(AclLogEntry entry);
  const std::deque<AclLogEntry>& log() const { return log_; }
  void clear_log() { log_.clear(); }
  std::size_t log_max = 128;

 private:
  std::string store(AclUser user);
  std::map<std::string, std::shared_ptr<AclUser>, std::less<>> users_;
  std::shared_ptr<AclUser> default_;
  std::deque<AclLogEntry> log_;
};

// For configuration files: what is wrong with a line of users, empty when it is good.
std::string check_acl_line(std::string_view line);

std::string sha256_hex(std::string_view bytes);

}  // namespace tidelock
