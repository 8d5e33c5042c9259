// TL.* beyond TL.GET and TL.SET, on a real edge without a hub.
#include <gtest/gtest.h>
#include <poll.h>
#include <unistd.h>

#include <string>

#include "edge/edge_fixture.h"
#include "wire/resp/socket.h"

namespace tidelock {
namespace {

class TlCommandsTest : public EdgeFixture {
 protected:
  // The bytes that one connection answers, up to and with `last`: the client drops attributes.
  std::string raw(const std::string& commands, const std::string& last) const {
    const auto fd = connect_socket("unix:" + config_.run_dir + "/redis.sock", kPatience);
    EXPECT_TRUE(fd);
    if (!fd) return {};
    EXPECT_EQ(::write(*fd, commands.data(), commands.size()), static_cast<ssize_t>(commands.size()));
    std::string got;
    pollfd waiting{*fd, POLLIN, 0};
    char buffer[4096];
    while (!got.ends_with(last) && ::poll(&waiting, 1, static_cast<int>(kPatience / kMillisecond)) == 1) {
      const ssize_t size = ::read(*fd, buffer, sizeof buffer);
      if (size <= 0) break;
      got.append(buffer, static_cast<std::size_t>(size));
    }
    ::close(*fd);
    return got;
  }
};

TEST_F(TlCommandsTest, ManyKeysUnderOneContract) {
  start();
  expect({{{"SET", "a", "1"}, "OK"}, {{"SET", "b", "2", "EX", "100"}, "OK"}});
  const RespValue all = ask({"TL.MGET", "EVENTUAL", "DEADLINE", "0", "KEYS", "a", "absent", "feature:x", "b", "a"});
  ASSERT_EQ(all.elements.size(), 5u) << to_text(all);
  EXPECT_EQ(all.elements[0].find("value")->text, "1");
  EXPECT_EQ(all.elements[0].find("basis")->text, "local");
  EXPECT_TRUE(all.elements[1].find("value")->is_null());
  EXPECT_TRUE(all.elements[2].is_error()) << "one key's error is its own";
  EXPECT_TRUE(all.elements[2].text.starts_with("STALE bound_us=-1")) << all.elements[2].text;
  EXPECT_GT(all.elements[3].find("ttl_ms")->integer, 90'000);
  EXPECT_EQ(all.elements[4], all.elements[0]);
  EXPECT_EQ(text({"TL.MGET", "a", "b"}),
            "(error) ERR syntax error: unknown option 'a', must be STRONG, EVENTUAL, BOUND ms, DEADLINE ms or TOKEN "
            "index");
  EXPECT_EQ(text({"COMMAND", "GETKEYS", "TL.MGET", "BOUND", "5", "KEYS", "a", "b"}), "[\"a\", \"b\"]");
}

TEST_F(TlCommandsTest, InvalidateDropsCopiesOnly) {  // D8: what waits to be sent stays
  joined_before();
  plant("feature:copy:1", "theirs", false);
  plant("feature:copy:2", "theirs", false);
  plant("feature:other", "theirs", false);
  plant("model:m", "theirs", false);
  start();
  expect({
      {{"SET", "feature:copy:own", "ours"}, "OK"},
      {{"SET", "feature:copy:2", "ours"}, "OK"},
      {{"SET", "copy:gateway", "ours"}, "OK"},
      {{"TL.INVALIDATE", "*copy:*"}, "1"},
      {{"TL.INVALIDATE", "*copy:*"}, "0"},
      {{"GET", "copy:gateway"}, "\"ours\""},
      {{"KEYS", "*:*"}, "[\"copy:gateway\", \"feature:copy:2\", \"feature:copy:own\", \"feature:other\", \"model:m\"]"},
      {{"TL.INVALIDATE", std::string(4097, '*')}, "(error) ERR the pattern is too long"},
      {{"TL.INVALIDATE", "*"}, "1"},  // not a strong key: its lease says more
      {{"KEYS", "*:*"}, "[\"copy:gateway\", \"feature:copy:2\", \"feature:copy:own\", \"model:m\"]"},
  });
}

TEST_F(TlCommandsTest, AFlushDeletesTheKeysOfOneNamespace) {
  start();
  expect({
      {{"MSET", "bulk:a", "1", "bulk:b", "2", "own", "3"}, "OK"},
      {{"TL.FLUSH", "bulk:"}, "2"},
      {{"TL.FLUSH", "bulk:"}, "0"},
      {{"KEYS", "*"}, "[\"own\"]"},
      {{"TL.FLUSH", "bulk"}, "(error) ERR no namespace has the prefix 'bulk'; TL.NAMESPACE lists them all"},
      {{"TL.FLUSH", "model:"}, "(error) NOPERM model keys are written by `tidelock model`"},
      {{"TL.FLUSH"}, "(error) ERR wrong number of arguments for 'tl.flush' command"},
      {{"TL.FLUSH", ""}, "1"},
      {{"DBSIZE"}, "0"},
  });
}

TEST_F(TlCommandsTest, NamespacesAsTheyAre) {
  start();
  const RespValue all = ask({"TL.NAMESPACE"});
  EXPECT_EQ(all.elements.size(), default_namespaces().size());
  const RespValue feature = ask({"TL.NAMESPACE", "feature:track:1"});
  EXPECT_EQ(to_text(feature),
            "{\"prefix\": \"feature:\", \"consistency\": \"bounded\", \"bound_ms\": 5000, \"bound_floor_ms\": 500, "
            "\"scope\": \"region\", \"write_mode\": \"behind\", \"flush_age_ms\": 1000, \"ttl_ms\": 0, \"on_stale\": "
            "[\"refresh\", \"wait\", \"fallback\", \"fail\"], \"deadline_ms\": 1000, \"fallback_cap_ms\": -1}");
  EXPECT_EQ(ask({"TL.NAMESPACE", "anything"}).find("write_mode")->text, "local");
  EXPECT_EQ(text({"TL.NAMESPACE", "a", "b"}), "(error) ERR wrong number of arguments for 'tl.namespace' command");
}

TEST_F(TlCommandsTest, ReceiptsGoBeforePlainReadsOfTheConnectionThatAsked) {
  start();
  expect({
      {{"SET", "k", "value"}, "OK"},
      {{"TL.RECEIPT"}, "\"off\""},
      {{"TL.RECEIPT", "maybe"}, "(error) ERR TL.RECEIPT 'maybe' must be ON or OFF"},
      {{"TL.RECEIPT", "ON", "x"}, "(error) ERR wrong number of arguments for 'tl.receipt' command"},
  });
  const std::string attribute =
      "|7\r\n$7\r\nversion\r\n:1\r\n$8\r\nbound_us\r\n:0\r\n$5\r\nbasis\r\n$5\r\nlocal\r\n$6\r\nsource\r\n$"
      "4\r\nedge\r\n"
      "$8\r\nfallback\r\n:0\r\n$10\r\nwriters_ms\r\n:0\r\n$6\r\nttl_ms\r\n:-1\r\n";
  const std::string value = "$5\r\nvalue\r\n", end = "+end\r\n";
  const auto after_hello = [](const std::string& bytes) {
    const std::size_t at = bytes.find("+OK\r\n");
    return at == std::string::npos ? bytes : bytes.substr(at);
  };
  EXPECT_EQ(
      after_hello(raw("HELLO 3\r\nTL.RECEIPT ON\r\nGET k\r\nTL.RECEIPT\r\nTL.RECEIPT OFF\r\nGET k\r\nPING end\r\n",
                      "$3\r\nend\r\n")),
      "+OK\r\n" + attribute + value + "$2\r\non\r\n+OK\r\n" + value + "$3\r\nend\r\n");
  // In RESP2 there is nothing to carry one, and RESET takes it back.
  EXPECT_TRUE(raw("TL.RECEIPT ON\r\n", "\r\n").starts_with("-ERR TL.RECEIPT ON needs RESP3"));
  EXPECT_EQ(after_hello(raw("HELLO 3\r\nTL.RECEIPT ON\r\nRESET\r\nTL.RECEIPT\r\nGET k\r\n", value)),
            "+OK\r\n+RESET\r\n$3\r\noff\r\n" + value);
  EXPECT_EQ(text({"TL.RECEIPT"}), "\"off\"") << "of another connection";
  EXPECT_EQ(text({"TL.RECEIPT", "ON"}), "OK");
  EXPECT_EQ(text({"GET", "k"}), "\"value\"") << "a client that ignores attributes reads on";
}

TEST_F(TlCommandsTest, WorkOnTheStoreOfModelsIsBegunByItsWords) {  // M2, M8, X3
  start();
  const std::string words =
      "(error) ERR TL.MODEL: write LOOK, VERIFY, REPAIR [DRYRUN], GC [IMPORTED] [DRYRUN] or IMPORT path";
  const std::string whole =
      "(error) ERR TL.MODEL IMPORT: give the whole path of a bundle on this machine, beginning with '/'";
  expect({{{"TL.MODEL", "LOOK"}, "\"{}\""},
          {{"TL.MODEL", "MEND"}, words},
          {{"TL.MODEL", "VERIFY", "DRYRUN"}, words},
          {{"TL.MODEL", "GC", "DRYRUN", "IMPORTED"}, words},
          {{"TL.MODEL", "REPAIR", "IMPORTED"}, words},
          {{"TL.MODEL", "IMPORT"}, words},
          {{"TL.MODEL", "IMPORT", "d.zip"}, whole},
          {{"TL.MODEL", "IMPORT", "/" + std::string(5'000, 'd')}, whole},
          {{"TL.MODEL", "import", "/nowhere/d.zip"}, "OK"}});
}

}  // namespace
}  // namespace tidelock
