// What permissions, COMMAND and statistics need to know of commands beyond the table's row: their subcommands, which
// categories they are in, and what they do to which of their arguments.
//
// Threads: any; all of it is constant. Cost: look_up is find_command, and for the few commands that have subcommands a
// scan of theirs; the visitors are O(arguments). Nothing allocates but full_name.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <span>
#include <string>
#include <string_view>

#include "wire/resp/command_table.h"

namespace tidelock {

struct SubcommandSpec {
  RespCommand parent;
  std::string_view name;  // lower case
  int arity;              // both names count
  std::uint32_t flags;    // CommandFlag
  std::size_t key_at;     // 0: none
  std::string_view summary, since;

  bool arity_fits(std::size_t arguments_with_names) const;
};

std::span<const SubcommandSpec> subcommand_table();
// Commands whose work is in their subcommands: they have no flags of their own.
bool is_container(RespCommand id);
const SubcommandSpec* find_subcommand(RespCommand parent, std::string_view name);  // any case

// Commands and subcommands by one number: a bit of a permission, a slot of the statistics.
inline constexpr std::size_t kCommandEntriesMax = 256;
std::size_t command_entries();

struct CommandLookup {
  const CommandSpec* spec = nullptr;
  const SubcommandSpec* sub = nullptr;
  bool unknown_subcommand = false;  // there is a second word, and it is none of them

  explicit operator bool() const { return spec != nullptr; }
  std::size_t entry() const;
  std::string full_name() const;  // "get", "config|get"
  std::uint32_t flags() const;
  int arity() const { return sub ? sub->arity : spec->arity; }
  bool arity_fits(std::size_t arguments) const {
    return sub ? sub->arity_fits(arguments) : spec->arity_fits(arguments);
  }
};
CommandLookup look_up(std::span<const std::string_view> args);
CommandLookup look_up_name(std::string_view full_name);  // "config|get"
CommandLookup lookup_of_entry(std::size_t entry);

// Bits in the order in which ACL CAT lists them.
using CategoryBits = std::uint32_t;
std::span<const std::string_view> category_names();  // without '@'
CategoryBits category_bit(std::string_view name);    // any case; 0: unknown
CategoryBits categories_of(const CommandLookup& command);

struct KeyFlag {
  enum : std::uint32_t {
    kRO = 1u << 0,
    kRW = 1u << 1,
    kOW = 1u << 2,
    kRM = 1u << 3,
    kAccess = 1u << 4,
    kUpdate = 1u << 5,
    kInsert = 1u << 6,
    kDelete = 1u << 7,
    kVariable = 1u << 8,  // other arguments may lessen it
    kPrefix = 1u << 9,    // not one key, but all that begin with what stands before the first wildcard
  };
  static constexpr std::uint32_t kReads = kAccess, kWrites = kUpdate | kInsert | kDelete;
};
// Key specifications as COMMAND INFO shows them: up to two.
struct KeySpec {
  int first, last, step;  // last: 0 is first itself, -1 up to the last argument
  std::uint32_t flags;
};
std::span<const KeySpec> key_specs(const CommandLookup& command);

// Every key among the arguments of a command whose arity fits, with its flags, until `visit` says false. False: it did.
using KeyVisitor = std::function<bool(std::string_view key, std::uint32_t flags)>;
bool for_each_key(const CommandLookup& command, std::span<const std::string_view> args, const KeyVisitor& visit);
// Every channel that is published or subscribed to.
using ChannelVisitor = std::function<bool(std::string_view channel, bool is_pattern)>;
bool for_each_channel(const CommandLookup& command, std::span<const std::string_view> args,
                      const ChannelVisitor& visit);

// As COMMAND INFO names them.
void write_flag_names(const CommandLookup& command, RespReply& reply);
void write_key_flag_names(std::uint32_t flags, RespReply& reply);

}  // namespace tidelock
