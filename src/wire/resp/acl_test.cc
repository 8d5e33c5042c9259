// Users, rules and decisions: the texts were taken from redis-server 7.0.15.
#include "wire/resp/acl.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <string>
#include <vector>

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

AclUser user_with(std::string_view rules) {
  AclUser user("u");
  for (const std::string_view rule : words(rules)) EXPECT_EQ(user.apply(rule), "") << rule;
  return user;
}

std::string decision(const AclUser& user, std::string_view line) {
  const auto args = words(line);
  const CommandLookup command = look_up(args);
  EXPECT_TRUE(command && command.arity_fits(args.size())) << line;
  const auto denied = user.check(command, args);
  if (!denied) return "ok";
  switch (denied->reason) {
    case AclDenial::Reason::kCommand: return "command " + denied->object;
    case AclDenial::Reason::kKey: return "key " + denied->object;
    case AclDenial::Reason::kChannel: return "channel " + denied->object;
  }
  return "?";
}

TEST(AclUser, ShowsItsCommandsAsTheShortestRules) {
  struct Case {
    const char* rules;
    const char* shown;
  };
  const Case cases[] = {
      {"", "-@all"},
      {"+@all", "+@all"},
      {"allcommands nocommands", "-@all"},
      {"+get +set -set +config|get -config", "-@all +get"},
      {"+@all -@admin +acl|whoami -get +config|get", "+@all -@admin -get +config|get"},
      {"+@read -@write +@dangerous +get -get +@all -@string", "+@all -@string"},
      {"+@read +get +mget -mget +memory|stats +memory", "-@all +@read +memory -mget"},
      {"+client -client|kill", "-@all +client -client|kill"},
      {"+client|id +client|getname -client|id", "-@all +client|getname"},
      {"+@all -get +get", "+@all"},
      {"+@all -@all +@read -@read", "-@all"},
      {"+@hash", "-@all +@hash"},
      {"+CONFIG|GET +Get", "-@all +config|get +get"},
  };
  for (const Case& c : cases) {
    const AclUser user = user_with(c.rules);
    // The order of single commands is the table's; Redis has that of its hash table.
    std::vector<std::string_view> shown = words(c.shown);
    const std::string text = user.commands_text();
    std::vector<std::string_view> got = words(text);
    std::sort(shown.begin(), shown.end());
    std::sort(got.begin(), got.end());
    EXPECT_EQ(got, shown) << c.rules << " -> " << text;
    // And what is shown means the same.
    const AclUser again = user_with(text);
    for (std::size_t entry = 0; entry < command_entries(); ++entry) {
      const CommandLookup command = lookup_of_entry(entry);
      const std::vector<std::string_view> none;
      if (!key_specs(command).empty() || command.spec->group == "pubsub") continue;
      if (command.spec->id == RespCommand::kTlMGet) continue;
      EXPECT_EQ(user.check(command, none).has_value(), again.check(command, none).has_value()) << command.full_name();
    }
  }
}

TEST(AclUser, ShowsTheRestAsRedis) {
  struct Case {
    const char* rules;
    const char* shown;
  };
  const Case cases[] = {
      {"", "off resetchannels -@all"},
      {"on >p1 ~k:* %R~r:* %W~w:* %RW~x:* &ch",
       "on #f64551fcd6f07823cb87971cfb91446425da18286b3ab1ef935e0cbd7a69f68a ~k:* %R~r:* %W~w:* ~x:* resetchannels &ch "
       "-@all"},
      {"on nopass allkeys allchannels +@all", "on nopass ~* &* +@all"},
      {"on nopass reset", "off sanitize-payload resetchannels -@all"},
      {"nopass >x <x", "off resetchannels -@all"},
      {"skip-sanitize-payload", "off skip-sanitize-payload resetchannels -@all"},
      {"%R~a %W~a", "off ~a resetchannels -@all"},
      {"~a ~* resetkeys ~b &a &* resetchannels &b &b", "off ~b resetchannels &b -@all"},
  };
  for (const Case& c : cases) EXPECT_EQ(user_with(c.rules).rules_text(), c.shown) << c.rules;
}

TEST(AclUser, RefusesWhatRedisRefuses) {
  struct Case {
    const char* before;
    std::string rule;
    const char* wrong;
  };
  const char* kUnknown = "Unknown command or category name in ACL";
  const char* kHash =
      "The password hash must be exactly 64 characters and contain only lowercase hexadecimal characters";
  const char* kNoPassword = "The password you are trying to remove from the user does not exist";
  const Case cases[] = {
      {"", "nope", "Syntax error"},
      {"", "", "Syntax error"},
      {"", "+nope", kUnknown},
      {"", "+", kUnknown},
      {"", "+@nope", kUnknown},
      {"", "+@", kUnknown},
      {"", "+config|nope", kUnknown},
      {"", "-config|nope", kUnknown},
      {"", "+config|", kUnknown},
      {"", "(+get ~a)", "Syntax error"},  // selectors are not served
      {"", "<nope", kNoPassword},
      {"", "!" + std::string(64, '0'), kNoPassword},
      {"", "!00", kHash},
      {"", "#00", kHash},
      {"", "#" + std::string(63, '0') + "Z", kHash},
      {"", "#" + std::string(63, '0') + "A", kHash},
      {"", "%Z~x", "Syntax error"},
      {"", "%~x", "Syntax error"},
      {"", "%RWR~x", "Syntax error"},
      {"", "%R", "Syntax error"},
      {"", "%", "Syntax error"},
      {"", "~a b", "Syntax error"},
      {"", "&a\tb", "Syntax error"},
      {"", "~" + std::string(5000, 'x'), "Syntax error"},
      {"allkeys", "~foo",
       "Adding a pattern after the * pattern (or the 'allkeys' flag) is not valid and does not have any effect. Try "
       "'resetkeys' to start with an empty list of patterns"},
      {"allchannels", "&c",
       "Adding a pattern after the * pattern (or the 'allchannels' flag) is not valid and does not have any effect. "
       "Try "
       "'resetchannels' to start with an empty list of channels"},
  };
  for (const Case& c : cases) {
    AclUser user = user_with(c.before);
    const std::string before = user.rules_text();
    EXPECT_EQ(user.apply(c.rule), c.wrong) << c.rule;
    EXPECT_EQ(user.rules_text(), before) << c.rule;
  }
}

TEST(AclUser, HoldsNoMoreThanItMay) {
  AclUser user("u");
  for (std::size_t i = 0; i < AclUser::kPatternsMax; ++i) {
    EXPECT_EQ(user.apply("~" + std::to_string(i)), "");
    EXPECT_EQ(user.apply("&" + std::to_string(i)), "");
  }
  EXPECT_EQ(user.apply("~more"), "The user has too many key patterns");
  EXPECT_EQ(user.apply("~7"), "");
  EXPECT_EQ(user.apply("&more"), "The user has too many channel patterns");
  for (std::size_t i = 0; i < AclUser::kPasswordsMax; ++i) EXPECT_EQ(user.apply(">" + std::to_string(i)), "");
  EXPECT_EQ(user.apply(">more"), "The user has too many passwords");
}

TEST(AclUser, DecidesAsRedis) {
  struct Case {
    const char* rules;
    const char* line;
    const char* decision;
  };
  const char* kSome = "~a* +get +set +mset &ch* +publish +subscribe +psubscribe";
  const char* kSides = "%R~r* %W~w* +copy +rename +set +get +exists";
  const Case cases[] = {
      {kSome, "get a", "ok"},
      {kSome, "get b", "key b"},
      {kSome, "mset a 1 ab 2", "ok"},
      {kSome, "mset a 1 b 2", "key b"},
      {kSome, "mset a b", "ok"},
      {kSome, "del a", "command del"},
      {kSome, "config get x", "command config|get"},
      {kSome, "publish x y", "channel x"},
      {kSome, "publish chx y", "ok"},
      {kSome, "subscribe chx y", "channel y"},
      {kSome, "psubscribe ch*", "ok"},
      {kSome, "psubscribe chx*", "channel chx*"},  // a pattern must be one of the user's, letter by letter
      {kSome, "auth x", "ok"},                     // or nobody could become someone else
      {kSome, "quit", "ok"},
      {kSome, "ping", "command ping"},
      {kSides, "copy r1 w1", "ok"},
      {kSides, "copy w1 r1", "key w1"},
      {kSides, "rename r1 w1", "key r1"},
      {kSides, "set r1 w1", "key r1"},
      {kSides, "set w1 v", "ok"},
      {kSides, "set w1 v get", "key w1"},
      {kSides, "get w1", "key w1"},
      {kSides, "exists r1 w1", "ok"},
      {"+client|id", "client id", "ok"},
      {"+client|id", "client kill x", "command client|kill"},
      {"+client|id", "client nope", "command client"},  // what is not in the table is not let through
      {"+client -client|kill", "client kill x", "command client|kill"},
      {"+@read ~features:*", "get features:1", "ok"},
      {"+@read ~features:*", "get models:1", "key models:1"},
      {"+@read ~features:*", "set features:1 x", "command set"},
      {"+memory|usage ~a", "memory usage a", "ok"},
      {"+memory|usage ~a", "memory usage b", "key b"},
      {"+tl.mget ~a*", "tl.mget bound 5 keys a ab", "ok"},
      {"+tl.mget ~a*", "tl.mget bound 5 keys a b", "key b"},
      // What drops all keys behind a prefix needs all of them.
      {"+tl.invalidate ~features:*", "tl.invalidate features:", "ok"},
      {"+tl.invalidate ~features:*", "tl.invalidate features:x:", "ok"},
      {"+tl.invalidate ~features:*", "tl.invalidate features", "key features"},
      {"+tl.invalidate ~features:?", "tl.invalidate features:x", "key features:x"},
      {"+tl.invalidate %R~features:*", "tl.invalidate features:", "key features:"},
      {"+tl.invalidate ~features:*", "tl.invalidate features:*:x", "ok"},
      {"+tl.flush ~features:*", "tl.flush features:", "ok"},
      {"+tl.flush ~features:*", "tl.flush features", "key features"},
      {"+tl.flush %R~features:*", "tl.flush features:", "key features:"},
      {"+tl.invalidate ~features:*", "tl.invalidate *", "key *"},
      {"+flushall ~features:*", "flushall", "key *"},  // X4; Redis lets it pass
      {"+flushdb %R~*", "flushdb async", "key *"},
      {"+flushdb ~*", "flushdb", "ok"},
      {"+flushdb %W~*", "flushdb", "ok"},
      {"+tl.invalidate ~features:*", "tl.invalidate feature[s]:*", "key feature[s]:*"},
  };
  for (const Case& c : cases) EXPECT_EQ(decision(user_with(c.rules), c.line), c.decision) << c.rules << " | " << c.line;
}

TEST(AclUser, ListsWhatItMayReadAndNothingElse) {  // X4
  struct Case {
    const char* rules;
    const char* key;
    bool readable;
  };
  const Case cases[] = {
      {"~a:*", "a:1", true},      {"~a:*", "a", false},   {"~a:*", "b:1", false},     {"~a:*", "", false},
      {"~a", "a", true},          {"~a", "ab", false},    {"%R~a:* ~b", "a:1", true}, {"%W~a:*", "a:1", false},
      {"%W~a:* ~b?", "bx", true}, {"~a[12]", "a2", true}, {"~a[12]", "a3", false},    {"~a\\*", "a*", true},
      {"~a\\*", "ab", false},     {"", "a", false},       {"%R~*", "anything", true}, {"~*:x", "a:x", true},
  };
  for (const Case& c : cases) {
    const auto keys = user_with(c.rules).readable_keys();
    ASSERT_NE(keys, nullptr) << c.rules;
    std::uint64_t work = 1000;
    EXPECT_EQ(keys->contains(c.key, &work), c.readable) << c.rules << " | " << c.key;
    EXPECT_GT(work, 0u);
  }
  EXPECT_EQ(user_with("~*").readable_keys(), nullptr);
  EXPECT_EQ(user_with("allkeys").readable_keys(), nullptr);
  // As they were: who lists goes on with the rules it began with, whatever becomes of the user.
  AclUser user = user_with("~a:*");
  const auto before = user.readable_keys();
  ASSERT_EQ(user.apply("resetkeys"), "");
  std::uint64_t work = 3;
  EXPECT_TRUE(before->contains("a:1", &work));
  for (int i = 0; i < 2; ++i) EXPECT_FALSE(before->contains("b", &work));
  EXPECT_EQ(work, 0u) << "X6: a look at a pattern is work";
  EXPECT_FALSE(before->contains("a:1", &work));
}

TEST(AclUser, AHostilePatternEndsAtTheWorkLimit) {  // X6
  std::string pattern = "~";
  for (int i = 0; i < 1000; ++i) pattern += "a*";
  AclUser user = user_with("+get");
  ASSERT_EQ(user.apply(pattern + "b"), "");
  const std::string key(200'000, 'a');
  const std::vector<std::string_view> args{"get", key};
  EXPECT_TRUE(user.check(look_up(args), args).has_value());
}

TEST(Acl, AuthenticatesByHashAlone) {
  Acl acl;
  EXPECT_TRUE(acl.open());
  acl.set_default_password("secret");
  EXPECT_FALSE(acl.open());
  EXPECT_EQ(acl.default_user()->rules_text().find("secret"), std::string::npos);
  EXPECT_EQ(acl.set_user("alice", words("on >one >two")), "");
  EXPECT_EQ(acl.set_user("off", words(">one")), "");
  EXPECT_EQ(acl.set_user("free", words("on nopass")), "");
  struct Case {
    const char* name;
    const char* password;
    bool right;
  };
  const Case cases[] = {{"default", "secret", true}, {"default", "", false}, {"default", "secret2", false},
                        {"alice", "one", true},      {"alice", "two", true}, {"alice", "three", false},
                        {"alice", "", false},        {"off", "one", false},  {"free", "anything", true},
                        {"nobody", "one", false},    {"Alice", "one", false}};
  for (const Case& c : cases) {
    const auto user = acl.authenticate(c.name, c.password);
    EXPECT_EQ(user != nullptr, c.right) << c.name << " " << c.password;
    if (user) {
      EXPECT_EQ(user->name(), c.name);
    }
  }
  acl.set_default_password("");
  EXPECT_TRUE(acl.open());
  ASSERT_EQ(acl.set_user("default", words("off")), "");
  EXPECT_FALSE(acl.open());  // without its password it would let everybody in
}

TEST(Acl, TakesAllRulesOrNone) {
  Acl acl;
  ASSERT_EQ(acl.set_user("a", words("on ~x")), "");
  const auto known = acl.find("a");
  EXPECT_EQ(acl.set_user("a", words("off ~y +nope")),
            "ERR Error in ACL SETUSER modifier '+nope': Unknown command or category name in ACL");
  EXPECT_EQ(acl.find("a")->rules_text(), "on ~x resetchannels -@all");
  EXPECT_EQ(acl.set_user("fresh", words("+nope")),
            "ERR Error in ACL SETUSER modifier '+nope': Unknown command or category name in ACL");
  EXPECT_EQ(acl.find("fresh"), nullptr);
  EXPECT_EQ(acl.set_user("a", words("+get")), "");
  EXPECT_EQ(acl.find("a"), known);  // whoever is logged in as it follows
  EXPECT_EQ(known->commands_text(), "-@all +get");
  EXPECT_EQ(acl.set_user("a b", {}), "ERR Usernames can't contain spaces or null characters");
  EXPECT_FALSE(acl.remove_user("default"));
  EXPECT_FALSE(acl.remove_user("nobody"));
  EXPECT_TRUE(acl.remove_user("a"));
  for (std::size_t i = acl.users().size(); i < Acl::kUsersMax; ++i) {
    ASSERT_EQ(acl.set_user("u" + std::to_string(i), {}), "");
  }
  EXPECT_EQ(acl.set_user("more", {}), "ERR there are 1024 users already");
}

TEST(Acl, ALineOfAFileReplacesTheUser) {
  Acl acl;
  acl.set_default_password("secret");
  EXPECT_EQ(acl.replace_user("alice on nopass ~features:* +@read"), "");
  EXPECT_EQ(acl.find("alice")->rules_text(), "on nopass ~features:* resetchannels -@all +@read");
  EXPECT_EQ(acl.replace_user("default on >other ~* &* +@all"), "");
  EXPECT_FALSE(acl.authenticate("default", "secret"));  // not one password beside the other
  EXPECT_TRUE(acl.authenticate("default", "other"));
  EXPECT_EQ(acl.replace_user("user on"), "");  // a name like any other
  EXPECT_EQ(acl.find("user")->rules_text(), "on resetchannels -@all");
  EXPECT_EQ(check_acl_line("bob on +nope"), "ERR user 'bob', rule '+nope': Unknown command or category name in ACL");
  EXPECT_EQ(check_acl_line(" "), "ERR a user begins with its name");
  EXPECT_EQ(check_acl_line("bob on +get"), "");
}

TEST(Acl, ARefusalThatGoesOnIsNewsOnceAMinute) {  // X4
  Acl acl;
  int told = 0;
  for (int i = 1; i <= 18; ++i) told += acl.note({0, "key", "toplevel", "k", "u", "c", i * 10 * kSecond});
  EXPECT_EQ(told, 3);
  EXPECT_EQ(acl.log()[0].count, 18);
}

TEST(Acl, TheLogCountsTheSameWithinAMinuteOnce) {
  Acl acl;
  const auto note = [&](const char* object, Nanos at) {
    return acl.note({0, "key", "toplevel", object, "u", "c", at});
  };
  EXPECT_TRUE(note("a", 0));
  EXPECT_TRUE(note("b", 1 * kSecond));
  EXPECT_FALSE(note("a", 60 * kSecond));
  ASSERT_EQ(acl.log().size(), 2u);
  EXPECT_EQ(acl.log()[0].object, "a");
  EXPECT_EQ(acl.log()[0].count, 2);
  EXPECT_EQ(acl.log()[0].at, 60 * kSecond);
  note("b", 62 * kSecond);
  EXPECT_EQ(acl.log().size(), 3u);  // more than a minute later: another event
  acl.log_max = 2;
  note("c", 63 * kSecond);
  EXPECT_EQ(acl.log().size(), 2u);
  EXPECT_EQ(acl.log()[0].object, "c");
}

}  // namespace
}  // namespace tidelock
