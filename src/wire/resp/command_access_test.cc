// What permissions, COMMAND and statistics know of commands.
#include "wire/resp/command_access.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <set>
#include <string>
#include <vector>

#include "wire/resp/value.h"

namespace tidelock {
namespace {

std::vector<std::string_view> words(std::string_view line) {
  std::vector<std::string_view> out;
  while (!line.empty()) {
    const std::size_t space = std::min(line.find(' '), line.size());
    if (space > 0) out.push_back(line.substr(0, space));
    line.remove_prefix(std::min(space + 1, line.size()));
  }
  return out;
}

std::string answer(std::string_view line, int protocol = 2) {
  std::string bytes;
  RespReply reply(bytes, protocol);
  answer_command(words(line), reply);
  RespReplyParser parser;
  RespValue value;
  parser.feed(bytes);
  EXPECT_EQ(parser.next(&value), RespReplyParser::Status::kValue) << line;
  return to_text(value);
}

std::string categories(std::string_view name) {
  const CategoryBits bits = categories_of(look_up_name(name));
  std::string text;
  for (std::size_t i = 0; i < category_names().size(); ++i) {
    if ((bits >> i) & 1u) text += (text.empty() ? "@" : " @") + std::string(category_names()[i]);
  }
  return text;
}

TEST(CommandAccess, EntriesAreOneNumberEach) {
  std::set<std::string> names;
  for (std::size_t entry = 0; entry < command_entries(); ++entry) {
    const CommandLookup command = lookup_of_entry(entry);
    EXPECT_EQ(command.entry(), entry);
    EXPECT_TRUE(names.insert(command.full_name()).second) << command.full_name();
    EXPECT_EQ(look_up_name(command.full_name()).entry(), entry);
    for (const KeySpec& spec : key_specs(command)) EXPECT_GT(spec.step, 0) << command.full_name();
  }
  EXPECT_FALSE(look_up_name("config|nope"));
  EXPECT_FALSE(look_up_name("get|x"));
  EXPECT_FALSE(look_up_name("|"));
  EXPECT_FALSE(look_up_name(""));
}

// A command that names keys in the table but not here would be let through for every user with `+command`.
TEST(CommandAccess, EveryCommandWithKeysSaysWhatItDoesToThem) {
  for (const CommandSpec& spec : command_table()) {
    if (spec.first_key == 0 || spec.id == RespCommand::kTlMGet || is_container(spec.id)) continue;
    const auto specs = key_specs({&spec});
    ASSERT_FALSE(specs.empty()) << spec.name;
    EXPECT_EQ(specs[0].first, spec.first_key) << spec.name;
    EXPECT_EQ(specs[0].step, spec.key_step) << spec.name;
    EXPECT_EQ(specs.back().last < 0 ? -1 : specs.back().first, spec.last_key) << spec.name;
    const bool writes = (spec.flags & CommandFlag::kWrite) != 0;
    bool any_write = false;
    for (const KeySpec& one : specs) any_write |= (one.flags & KeyFlag::kWrites) != 0;
    EXPECT_EQ(writes, any_write) << spec.name;
  }
}

TEST(CommandAccess, SubcommandsAreFoundInAnyCase) {
  const auto args = words("cOnFiG gEt x");
  EXPECT_EQ(look_up(args).full_name(), "config|get");
  EXPECT_TRUE(look_up(words("config nope")).unknown_subcommand);
  EXPECT_FALSE(look_up(words("config")).unknown_subcommand);
  EXPECT_FALSE(look_up(words("get nope")).unknown_subcommand);
}

TEST(CommandAccess, CategoriesAsRedis) {
  const std::pair<const char*, const char*> cases[] = {
      {"get", "@read @string @fast"},
      {"set", "@write @string @slow"},
      {"del", "@keyspace @write @slow"},
      {"keys", "@keyspace @read @slow @dangerous"},
      {"hset", "@write @hash @fast"},
      {"ping", "@fast @connection"},
      {"auth", "@fast @connection"},
      {"config", "@slow"},
      {"config|get", "@admin @slow @dangerous"},
      {"config|help", "@slow"},
      {"command", "@slow @connection"},
      {"command|docs", "@slow @connection"},
      {"client", "@slow"},
      {"client|id", "@slow @connection"},
      {"client|kill", "@admin @slow @dangerous @connection"},
      {"acl|whoami", "@slow"},
      {"acl|setuser", "@admin @slow @dangerous"},
      {"memory|usage", "@read @slow"},
      {"object", "@slow"},
      {"object|encoding", "@keyspace @read @slow"},
      {"function|flush", "@write @slow @scripting"},
      {"function|list", "@slow @scripting"},
      {"shutdown", "@admin @slow @dangerous"},
      {"info", "@slow @dangerous"},
      {"time", "@fast"},
      {"flushall", "@keyspace @write @slow @dangerous"},
      {"dbsize", "@keyspace @read @fast"},
      {"multi", "@fast @transaction"},
      {"exec", "@slow @transaction"},
      {"subscribe", "@pubsub @slow"},
      {"publish", "@pubsub @fast"},
      {"pubsub|channels", "@pubsub @slow"},
  };
  for (const auto& [name, expected] : cases) EXPECT_EQ(categories(name), expected) << name;
}

TEST(CommandAccess, FlagsAsRedis) {
  const std::pair<const char*, const char*> cases[] = {
      {"config", "[]"},
      {"client", "[]"},
      {"command", "[loading, stale]"},
      {"auth", "[noscript, loading, stale, fast, no_auth, allow_busy]"},
      {"multi", "[noscript, loading, stale, fast, allow_busy]"},
      {"exec", "[noscript, loading, stale, skip_slowlog]"},
      {"shutdown", "[admin, noscript, loading, stale, no_multi, allow_busy]"},
      {"hset", "[write, denyoom, fast]"},
      {"subscribe", "[pubsub, noscript, loading, stale]"},
      {"config|get", "[admin, noscript, loading, stale]"},
      {"slowlog|get", "[admin, loading, stale]"},
  };
  for (const auto& [name, expected] : cases) {
    std::string bytes;
    RespReply reply(bytes, 2);
    write_flag_names(look_up_name(name), reply);
    RespReplyParser parser;
    RespValue value;
    parser.feed(bytes);
    ASSERT_EQ(parser.next(&value), RespReplyParser::Status::kValue) << name;
    EXPECT_EQ(to_text(value), expected) << name;
  }
}

TEST(CommandAccess, GetKeysAsRedis) {
  const std::pair<const char*, const char*> cases[] = {
      {"command getkeys get a", "[\"a\"]"},
      {"command getkeys mset a 1 b", "[\"a\", \"b\"]"},
      {"command getkeys object encoding x", "[\"x\"]"},
      {"command getkeys memory usage x", "[\"x\"]"},
      {"command getkeys tl.mget bound 5 keys a b", "[\"a\", \"b\"]"},
      {"command getkeys tl.mget bound 5", "(error) ERR Invalid arguments specified for command"},
      {"command getkeys config get x", "(error) ERR The command has no key arguments"},
      {"command getkeys config nope x", "(error) ERR Invalid command specified"},
      {"command getkeys ping", "(error) ERR wrong number of arguments for 'command|getkeys' command"},
      {"command getkeysandflags get a", "[[\"a\", [RO, access]]]"},
      {"command getkeysandflags set a 1", "[[\"a\", [OW, update]]]"},
      {"command getkeysandflags set a 1 get", "[[\"a\", [RW, access, update]]]"},
      {"command getkeysandflags mset a 1 b 2", "[[\"a\", [OW, update]], [\"b\", [OW, update]]]"},
      {"command getkeysandflags rename a b", "[[\"a\", [RW, access, delete]], [\"b\", [OW, update]]]"},
      {"command getkeysandflags copy a b", "[[\"a\", [RO, access]], [\"b\", [OW, update]]]"},
      {"command getkeysandflags", "(error) ERR wrong number of arguments for 'command|getkeysandflags' command"},
  };
  for (const auto& [line, expected] : cases) EXPECT_EQ(answer(line), expected) << line;
}

TEST(CommandAccess, ListAndInfoAsRedis) {
  const std::pair<const char*, const char*> cases[] = {
      {"command list filterby pattern hse*", "[\"hset\", \"hsetnx\"]"},
      {"command list filterby pattern config|g*", "[\"config|get\"]"},
      {"command list filterby aclcat transaction", "[\"multi\", \"exec\", \"discard\", \"watch\", \"unwatch\"]"},
      {"command list filterby aclcat nope", "[]"},
      {"command list filterby module x", "[]"},
      {"command list filterby nope x", "(error) ERR syntax error"},
      {"command list filterby pattern", "(error) ERR syntax error"},
      {"command list x", "(error) ERR syntax error"},
      {"command info config|get",
       "[[\"config|get\", -3, [admin, noscript, loading, stale], 0, 0, 0, [@admin, @slow, @dangerous], [], [], []]]"},
      {"command info config|nope", "[null]"},
      {"command docs nope", "[]"},
      {"command docs config|get",
       "[\"config|get\", [\"summary\", \"Get the values of configuration parameters\", \"since\", \"2.0.0\", "
       "\"group\", "
       "\"server\"]]"},
  };
  for (const auto& [line, expected] : cases) EXPECT_EQ(answer(line), expected) << line;
}

// The trees redis-cli draws its hints from, as Redis 7.0 gives them (without its history).
TEST(CommandAccess, DocsTakeTheArgumentsApart) {
  const auto arguments = [](const char* name) {
    const std::string text = answer(std::string("command docs ") + name, 3);
    const std::size_t at = text.find("\"arguments\": ");
    return at == std::string::npos ? std::string() : text.substr(at + 13, text.size() - at - 15);
  };
  EXPECT_EQ(arguments("mget"), R"([{"name": "key", "type": "key", "key_spec_index": 0, "flags": {multiple}}])");
  EXPECT_EQ(arguments("publish"), R"([{"name": "channel", "type": "string"}, {"name": "message", "type": "string"}])");
  EXPECT_EQ(arguments("hscan"),
            R"([{"name": "key", "type": "key", "key_spec_index": 0}, {"name": "cursor", "type": "integer"}, )"
            R"({"name": "pattern", "type": "pattern", "token": "MATCH", "flags": {optional}}, )"
            R"({"name": "count", "type": "integer", "token": "COUNT", "flags": {optional}}])");
  const std::string set = arguments("set");
  EXPECT_NE(set.find(R"({"name": "nx", "type": "oneof", "flags": {optional}, "arguments": [{"name": "nx", "type": )"
                     R"("pure-token", "token": "NX"}, {"name": "xx", "type": "pure-token", "token": "XX"}]})"),
            std::string::npos)
      << set;
  EXPECT_NE(set.find(R"({"name": "seconds", "type": "integer", "token": "EX"})"), std::string::npos) << set;
  EXPECT_EQ(arguments("mset"),
            R"([{"name": "key_value", "type": "block", "flags": {multiple}, "arguments": )"
            R"([{"name": "key", "type": "key", "key_spec_index": 0}, {"name": "value", "type": "string"}]}])");
  EXPECT_EQ(arguments("time"), "");
}

}  // namespace
}  // namespace tidelock
