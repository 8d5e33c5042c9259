// Transactions, pub/sub, client tracking and CLIENT as conversations of several clients. Each script is held against
// our server, and, where redis-server is installed, against Redis 7.0: same values, and the same bytes.
#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "wire/resp/conversation_fixture.h"
#include "wire/resp/peer_fixture.h"
#include "wire/resp/server_fixture.h"

namespace tidelock {
namespace {

const std::string kAborted = "(error) EXECABORT Transaction discarded because of previous errors.";
const std::string kOnlyThese =
    ": only (P|S)SUBSCRIBE / (P|S)UNSUBSCRIBE / PING / QUIT / RESET are allowed in this context";

const Script kTransactions = {
    {"a", "EXEC", {"(error) ERR EXEC without MULTI"}},
    {"a", "DISCARD", {"(error) ERR DISCARD without MULTI"}},
    {"a", "MULTI", {"OK"}},
    {"a", "MULTI", {"(error) ERR MULTI calls can not be nested"}},
    {"a", "WATCH k", {"(error) ERR WATCH inside MULTI is not allowed"}},
    {"a", "SET k 1", {"QUEUED"}},
    {"a", "GET k", {"QUEUED"}},
    {"b", "GET k", {"null"}},
    {"a", "SELECT 99", {"QUEUED"}},
    {"a", "EXEC", {"[OK, \"1\", (error) ERR DB index is out of range]"}},
    {"a", "MULTI", {"OK"}},
    {"a", "SET k 2", {"QUEUED"}},
    {"a", "DISCARD", {"OK"}},
    {"a", "GET k", {"\"1\""}},
    // Whatever is refused at queueing breaks the transaction.
    {"a", "MULTI", {"OK"}},
    {"a", "nope", {"(error) ERR unknown command 'nope', with args beginning with: "}},
    {"a", "SET k 3", {"QUEUED"}},
    {"a", "EXEC", {kAborted}},
    {"a", "MULTI", {"OK"}},
    {"a", "SET k", {"(error) ERR wrong number of arguments for 'set' command"}},
    {"a", "EXEC", {kAborted}},
    {"a", "MULTI", {"OK"}},
    {"a", "SHUTDOWN", {"(error) ERR Command not allowed inside a transaction"}},
    {"a", "EXEC", {kAborted}},
    {"a", "GET k", {"\"1\""}},
    {"a", "MULTI", {"OK"}},
    {"a", "EXEC", {"[]"}},
    // WATCH
    {"a", "WATCH k k other", {"OK"}},
    {"b", "SET unrelated 1", {"OK"}},
    {"a", "MULTI", {"OK"}},
    {"a", "GET k", {"QUEUED"}},
    {"a", "EXEC", {"[\"1\"]"}},
    {"a", "WATCH k", {"OK"}},
    {"b", "SET k 5", {"OK"}},
    {"a", "MULTI", {"OK"}},
    {"a", "SET k 6", {"QUEUED"}},
    {"a", "EXEC", {"null"}},
    {"a", "GET k", {"\"5\""}},
    {"a", "WATCH k", {"OK"}},
    {"b", "SET k 7", {"OK"}},
    {"a", "UNWATCH", {"OK"}},
    {"a", "MULTI", {"OK"}},
    {"a", "SET k 8", {"QUEUED"}},
    {"a", "EXEC", {"[OK]"}},
    {"a", "WATCH k", {"OK"}},
    {"a", "DEL k", {"1"}},  // its own change counts, too
    {"a", "MULTI", {"OK"}},
    {"a", "PING", {"QUEUED"}},
    {"a", "EXEC", {"null"}},
    {"a", "WATCH k", {"OK"}},
    {"b", "MSET j 1 k 1", {"OK"}},
    {"a", "DISCARD", {"(error) ERR DISCARD without MULTI"}},
    {"a", "MULTI", {"OK"}},
    {"a", "DISCARD", {"OK"}},  // forgets what was watched
    {"a", "MULTI", {"OK"}},
    {"a", "EXEC", {"[]"}},
    {"a", "WATCH k", {"OK"}},
    {"b", "FLUSHALL", {"OK"}},
    {"a", "MULTI", {"OK"}},
    {"a", "EXEC", {"null"}},
    {"c3", "WATCH k", {"OK"}},
    {"b", "SET k 1", {"OK"}},
    {"c3", "MULTI", {"OK"}},
    {"c3", "EXEC", {"null"}},
    // What belongs to the connection is queued like the rest; RESET ends it all.
    {"a", "MULTI", {"OK"}},
    {"a", "CLIENT SETNAME me", {"QUEUED"}},
    {"a", "CLIENT GETNAME", {"QUEUED"}},
    {"a", "PUBLISH c m", {"QUEUED"}},
    {"a", "ECHO x", {"QUEUED"}},
    {"a", "EXEC", {"[OK, \"me\", 0, \"x\"]"}},
    {"a", "WATCH k", {"OK"}},
    {"b", "SET k 2", {"OK"}},
    {"a", "MULTI", {"OK"}},
    {"a", "RESET", {"RESET"}},
    {"a", "EXEC", {"(error) ERR EXEC without MULTI"}},
    {"a", "MULTI", {"OK"}},
    {"a", "EXEC", {"[]"}},
};

const Script kPubSub = {
    {"a", "PUBLISH c m", {"0"}},
    {"b", "SUBSCRIBE c d c", {"[\"subscribe\", \"c\", 1]", "[\"subscribe\", \"d\", 2]", "[\"subscribe\", \"c\", 2]"}},
    {"b", "PSUBSCRIBE c* ?", {"[\"psubscribe\", \"c*\", 3]", "[\"psubscribe\", \"?\", 4]"}},
    {"a", "PUBLISH d m", {"2"}},
    {"b", "", {"[\"message\", \"d\", \"m\"]", "[\"pmessage\", \"?\", \"d\", \"m\"]"}},
    {"a", "PUBLISH cc m", {"1"}},
    {"b", "", {"[\"pmessage\", \"c*\", \"cc\", \"m\"]"}},
    {"a", "PUBSUB NUMPAT", {"2"}},
    {"a", "PUBSUB NUMSUB c x d", {"[\"c\", 1, \"x\", 0, \"d\", 1]"}},
    {"a", "PUBSUB NUMSUB", {"[]"}},
    {"a", "PUBSUB CHANNELS c*", {"[\"c\"]"}},
    {"a", "PUBSUB CHANNELS x", {"[]"}},
    {"a", "PUBSUB", {"(error) ERR wrong number of arguments for 'pubsub' command"}},
    {"a", "PUBSUB NUMPAT x", {"(error) ERR wrong number of arguments for 'pubsub|numpat' command"}},
    {"a",
     "PUBSUB CHANNELS a b",
     {"(error) ERR unknown subcommand or wrong number of arguments for 'CHANNELS'. Try PUBSUB HELP."}},
    {"a", "PUBSUB nope", {"(error) ERR unknown subcommand 'nope'. Try PUBSUB HELP."}},
    {"a", "PUBLISH c", {"(error) ERR wrong number of arguments for 'publish' command"}},
    {"a", "SUBSCRIBE", {"(error) ERR wrong number of arguments for 'subscribe' command"}},
    // A RESP2 subscriber may do little else.
    {"b", "GET k", {"(error) ERR Can't execute 'get'" + kOnlyThese}},
    {"b", "CLIENT LIST", {"(error) ERR Can't execute 'client|list'" + kOnlyThese}},
    {"b", "MULTI", {"(error) ERR Can't execute 'multi'" + kOnlyThese}},
    {"b", "GET", {"(error) ERR wrong number of arguments for 'get' command"}},
    {"b", "PING", {"[\"pong\", \"\"]"}},
    {"b", "PING x", {"[\"pong\", \"x\"]"}},
    {"b", "UNSUBSCRIBE c x", {"[\"unsubscribe\", \"c\", 3]", "[\"unsubscribe\", \"x\", 3]"}},
    {"a", "PUBLISH d again", {"2"}},
    {"b", "", {"[\"message\", \"d\", \"again\"]", "[\"pmessage\", \"?\", \"d\", \"again\"]"}},
    {"b", "UNSUBSCRIBE", {"[\"unsubscribe\", \"d\", 2]"}},
    {"b", "UNSUBSCRIBE", {"[\"unsubscribe\", null, 2]"}},
    {"b", "PUNSUBSCRIBE c* ?", {"[\"punsubscribe\", \"c*\", 1]", "[\"punsubscribe\", \"?\", 0]"}},
    {"b", "PUNSUBSCRIBE", {"[\"punsubscribe\", null, 0]"}},
    {"b", "PING", {"PONG"}},
    {"b", "SUBSCRIBE c", {"[\"subscribe\", \"c\", 1]"}},
    {"b", "RESET", {"RESET"}},
    {"b", "GET k", {"null"}},
    {"a", "PUBLISH c m", {"0"}},
    // RESP3: pushes, beside every command; to itself before the answer.
    {"c3", "SUBSCRIBE c", {">[\"subscribe\", \"c\", 1]"}},
    {"c3", "PSUBSCRIBE c", {">[\"psubscribe\", \"c\", 2]"}},
    {"c3", "GET k", {"null"}},
    {"c3", "PING", {"PONG"}},
    {"c3", "PUBLISH c m", {">[\"message\", \"c\", \"m\"]", ">[\"pmessage\", \"c\", \"c\", \"m\"]", "2"}},
    {"c3", "UNSUBSCRIBE", {">[\"unsubscribe\", \"c\", 1]"}},
    {"c3", "PUNSUBSCRIBE", {">[\"punsubscribe\", \"c\", 0]"}},
    {"c3", "UNSUBSCRIBE", {">[\"unsubscribe\", null, 0]"}},
};

const Script kTracking = {
    {"a", "MSET k 1 j 1 u:1 1", {"OK"}},
    {"t3", "CLIENT TRACKING ON", {"OK"}},
    {"a", "SET k 2", {"OK"}},  // never read: nothing is said
    {"t3", "GET k", {"\"2\""}},
    {"a", "SET k 3", {"OK"}},
    {"t3", "", {">[\"invalidate\", [\"k\"]]"}},
    {"a", "SET k 4", {"OK"}},  // said once for a read
    {"t3", "MGET k j none", {"[\"4\", \"1\", null]"}},
    {"a", "MSET k 5 j 2", {"OK"}},
    {"t3", "", {">[\"invalidate\", [\"k\"]]", ">[\"invalidate\", [\"j\"]]"}},
    {"a", "SET none 1", {"OK"}},  // absence is read, too
    {"t3", "", {">[\"invalidate\", [\"none\"]]"}},
    {"t3", "GET k", {"\"5\""}},
    {"t3", "SET k 6", {"OK", ">[\"invalidate\", [\"k\"]]"}},  // its own change, behind the answer
    {"t3", "GET k", {"\"6\""}},
    {"t3", "MULTI", {"OK"}},
    {"t3", "SET k 7", {"QUEUED"}},
    {"t3", "GET k", {"QUEUED"}},
    {"t3", "EXEC", {"[OK, \"7\"]", ">[\"invalidate\", [\"k\"]]"}},
    {"a", "FLUSHALL", {"OK"}},
    {"t3", "", {">[\"invalidate\", null]"}},
    {"a", "SET k 1", {"OK"}},
    {"t3", "CLIENT TRACKING OFF", {"OK"}},
    {"t3", "GET k", {"\"1\""}},
    {"a", "SET k 2", {"OK"}},
    // NOLOOP
    {"t3", "CLIENT TRACKING ON NOLOOP", {"OK"}},
    {"t3", "GET k", {"\"2\""}},
    {"t3", "SET k 3", {"OK"}},
    {"a", "SET k 4", {"OK"}},  // the table had forgotten the read
    {"t3", "GET k", {"\"4\""}},
    {"a", "SET k 5", {"OK"}},
    {"t3", "", {">[\"invalidate\", [\"k\"]]"}},
    {"t3", "CLIENT TRACKING OFF", {"OK"}},
    // OPTIN, OPTOUT
    {"t3", "CLIENT TRACKING ON OPTIN", {"OK"}},
    {"t3", "GET k", {"\"5\""}},
    {"a", "SET k 6", {"OK"}},
    {"t3", "CLIENT CACHING YES", {"OK"}},
    {"t3", "GET k", {"\"6\""}},
    {"t3", "GET j", {"null"}},
    {"a", "MSET j 1 k 7", {"OK"}},
    {"t3", "", {">[\"invalidate\", [\"k\"]]"}},
    {"t3", "CLIENT CACHING YES", {"OK"}},
    {"t3", "MULTI", {"OK"}},
    {"t3", "GET k", {"QUEUED"}},
    {"t3", "GET j", {"QUEUED"}},
    {"t3", "EXEC", {"[\"7\", \"1\"]"}},
    {"a", "MSET j 2 k 8", {"OK"}},
    {"t3", "", {">[\"invalidate\", [\"j\"]]", ">[\"invalidate\", [\"k\"]]"}},
    {"t3", "CLIENT TRACKING OFF", {"OK"}},
    {"t3", "CLIENT TRACKING ON OPTOUT", {"OK"}},
    {"t3", "CLIENT CACHING NO", {"OK"}},
    {"t3", "GET k", {"\"8\""}},
    {"t3", "GET j", {"\"2\""}},
    {"a", "MSET j 3 k 9", {"OK"}},
    {"t3", "", {">[\"invalidate\", [\"j\"]]"}},
    {"t3", "RESET", {"RESET"}},
    {"t3", "HELLO 3 nope", {"(error) ERR Syntax error in HELLO option 'nope'"}},
    // BCAST: whoever reads or not, by prefix; several keys of a command in one message.
    {"p3", "CLIENT TRACKING ON BCAST PREFIX u: PREFIX v:", {"OK"}},
    {"a", "MSET u:2 1 k 1 u:1 1 v:1 1", {"OK"}},
    {"p3", "", {">[\"invalidate\", [\"u:1\", \"u:2\"]]", ">[\"invalidate\", [\"v:1\"]]"}},
    {"p3", "SET u:1 2", {"OK", ">[\"invalidate\", [\"u:1\"]]"}},
    {"p3", "CLIENT TRACKING ON BCAST NOLOOP PREFIX w:", {"OK"}},
    {"p3", "SET u:1 3", {"OK"}},
    {"a", "SET w:1 3", {"OK"}},
    {"p3", "", {">[\"invalidate\", [\"w:1\"]]"}},
    {"a", "FLUSHALL", {"OK"}},
    {"p3", "", {">[\"invalidate\", null]"}},
    {"p3", "CLIENT TRACKING OFF", {"OK"}},
    {"a", "SET u:1 3", {"OK"}},
    {"p3", "CLIENT TRACKING ON BCAST", {"OK"}},
    {"a", "SET any 3", {"OK"}},
    {"p3", "", {">[\"invalidate\", [\"any\"]]"}},
    {"p3", "CLIENT TRACKING OFF", {"OK"}},
    // REDIRECT to a RESP2 subscriber
    {"s", "SUBSCRIBE __redis__:invalidate", {"[\"subscribe\", \"__redis__:invalidate\", 1]"}},
    {"r", "CLIENT TRACKING ON REDIRECT $s", {"OK"}},
    {"r", "GET k", {"null"}},
    {"a", "SET k 1", {"OK"}},
    {"s", "", {"[\"message\", \"__redis__:invalidate\", [\"k\"]]"}},
    {"a", "FLUSHALL", {"OK"}},
    {"s", "", {"[\"message\", \"__redis__:invalidate\", null]"}},
    // RESP2 without REDIRECT has no way to be told
    {"q", "CLIENT TRACKING ON", {"OK"}},
    {"q", "GET k", {"null"}},
    {"a", "SET k 2", {"OK"}},
    {"q", "PING", {"PONG"}},
};

const std::string kOther = " before disabling tracking for this client, and then re-enabling it with a different mode.";
const std::string kSubcommandArity = "(error) ERR wrong number of arguments for 'client|";

const Script kClient = {
    {"a", "CLIENT TRACKING", {kSubcommandArity + "tracking' command"}},
    {"a", "CLIENT TRACKING x", {"(error) ERR syntax error"}},
    {"a", "CLIENT TRACKING ON", {"OK"}},
    {"a", "CLIENT TRACKING OFF nope", {"(error) ERR syntax error"}},
    {"a", "CLIENT TRACKING ON REDIRECT", {"(error) ERR syntax error"}},
    {"a", "CLIENT TRACKING ON REDIRECT x", {"(error) ERR value is not an integer or out of range"}},
    {"a", "CLIENT TRACKING ON REDIRECT 12345", {"(error) ERR The client ID you want redirect to does not exist"}},
    {"a",
     "CLIENT TRACKING ON REDIRECT $a REDIRECT $a",
     {"(error) ERR A client can only redirect to a single other client"}},
    {"a", "CLIENT TRACKING ON PREFIX a", {"(error) ERR PREFIX option requires BCAST mode to be enabled"}},
    {"a", "CLIENT TRACKING ON BCAST", {"(error) ERR You can't switch BCAST mode on/off" + kOther}},
    {"a", "CLIENT TRACKING ON OPTIN OPTOUT", {"(error) ERR You can't specify both OPTIN mode and OPTOUT mode"}},
    {"a", "CLIENT TRACKING OFF", {"OK"}},
    {"a", "CLIENT TRACKING OFF", {"OK"}},
    {"a", "CLIENT TRACKING ON OPTIN BCAST", {"(error) ERR OPTIN and OPTOUT are not compatible with BCAST"}},
    {"a",
     "CLIENT CACHING YES",
     {"(error) ERR CLIENT CACHING can be called only when the client is in tracking mode with OPTIN or OPTOUT mode "
      "enabled"}},
    {"a", "CLIENT TRACKING ON OPTIN NOLOOP", {"OK"}},
    {"a", "CLIENT CACHING", {kSubcommandArity + "caching' command"}},
    {"a", "CLIENT CACHING x", {"(error) ERR syntax error"}},
    {"a",
     "CLIENT CACHING NO",
     {"(error) ERR CLIENT CACHING NO is only valid when tracking is enabled in OPTOUT mode."}},
    {"a", "CLIENT CACHING YES", {"OK"}},
    {"a",
     "CLIENT TRACKINGINFO",
     {"[\"flags\", [\"on\", \"optin\", \"caching-yes\", \"noloop\"], \"redirect\", 0, \"prefixes\", []]"}},
    {"a", "CLIENT GETREDIR", {"0"}},
    {"a", "CLIENT TRACKING ON OPTOUT", {"(error) ERR You can't switch OPTIN/OPTOUT mode" + kOther}},
    {"a", "CLIENT TRACKING OFF", {"OK"}},
    {"a", "CLIENT GETREDIR", {"-1"}},
    {"a", "CLIENT GETREDIR x", {kSubcommandArity + "getredir' command"}},
    {"a", "CLIENT TRACKINGINFO x", {kSubcommandArity + "trackinginfo' command"}},
    {"a", "CLIENT TRACKINGINFO", {"[\"flags\", [\"off\"], \"redirect\", -1, \"prefixes\", []]"}},
    {"a",
     "CLIENT TRACKING ON BCAST PREFIX a PREFIX ab",
     {"(error) ERR Prefix 'a' overlaps with another provided prefix 'ab'. Prefixes for a single client must not "
      "overlap."}},
    {"a", "CLIENT TRACKING ON BCAST PREFIX a PREFIX b", {"OK"}},
    {"a",
     "CLIENT TRACKING ON BCAST PREFIX ac",
     {"(error) ERR Prefix 'ac' overlaps with an existing prefix 'a'. Prefixes for a single client must not overlap."}},
    {"a", "CLIENT TRACKING ON BCAST", {"OK"}},
    {"a",
     "CLIENT TRACKINGINFO",
     {"[\"flags\", [\"on\", \"bcast\"], \"redirect\", 0, \"prefixes\", [\"\", \"a\", \"b\"]]"}},
    {"b3", "CLIENT TRACKING ON OPTOUT", {"OK"}},
    {"b3", "CLIENT CACHING NO", {"OK"}},
    {"b3",
     "CLIENT TRACKINGINFO",
     {"{\"flags\": {\"on\", \"optout\", \"caching-no\"}, \"redirect\": 0, \"prefixes\": []}"}},
    // KILL
    {"a", "CLIENT KILL", {kSubcommandArity + "kill' command"}},
    {"a", "CLIENT KILL a b", {"(error) ERR syntax error"}},
    {"a", "CLIENT KILL ID", {"(error) ERR No such client"}},
    {"a", "CLIENT KILL 1.2.3.4:5", {"(error) ERR No such client"}},
    {"a", "CLIENT KILL ID x", {"(error) ERR client-id should be greater than 0"}},
    {"a", "CLIENT KILL ID 0", {"(error) ERR client-id should be greater than 0"}},
    {"a", "CLIENT KILL ID 99999", {"0"}},
    {"a", "CLIENT KILL ID 99999 ADDR", {"(error) ERR syntax error"}},
    {"a", "CLIENT KILL TYPE x", {"(error) ERR Unknown client type 'x'"}},
    {"a", "CLIENT KILL TYPE master", {"0"}},
    {"a", "CLIENT KILL TYPE pubsub", {"0"}},
    {"a", "CLIENT KILL USER nobody", {"(error) ERR No such user 'nobody'"}},
    {"a", "CLIENT KILL SKIPME x", {"(error) ERR syntax error"}},
    {"a", "CLIENT KILL nope x", {"(error) ERR syntax error"}},
    {"a", "CLIENT KILL ADDR 1.2.3.4:5", {"0"}},
    {"a", "CLIENT KILL LADDR 1.2.3.4:5 SKIPME no", {"0"}},
    {"a", "CLIENT KILL ID $a", {"0"}},  // SKIPME
    {"v", "PING", {"PONG"}},
    {"w", "SUBSCRIBE c", {"[\"subscribe\", \"c\", 1]"}},
    {"a", "CLIENT KILL TYPE pubsub", {"1"}},
    {"w", "", {"closed"}},
    {"a", "CLIENT KILL ID $v TYPE normal USER default", {"1"}},
    {"v", "", {"closed"}},
    {"x", "CLIENT KILL ID $x SKIPME no", {"1", "closed"}},
    // PAUSE
    {"a", "CLIENT PAUSE", {kSubcommandArity + "pause' command"}},
    {"a", "CLIENT PAUSE x", {"(error) ERR timeout is not an integer or out of range"}},
    {"a", "CLIENT PAUSE -1", {"(error) ERR timeout is negative"}},
    {"a", "CLIENT PAUSE 0 x", {"(error) ERR CLIENT PAUSE mode must be WRITE or ALL"}},
    {"a",
     "CLIENT PAUSE 0 WRITE x",
     {"(error) ERR unknown subcommand or wrong number of arguments for 'PAUSE'. Try CLIENT HELP."}},
    {"a", "CLIENT PAUSE 0", {"OK"}},
    {"a", "CLIENT UNPAUSE x", {kSubcommandArity + "unpause' command"}},
    {"a", "CLIENT UNPAUSE", {"OK"}},
    {"a", "CLIENT PAUSE 100000 WRITE", {"OK"}},
    {"y", "GET k", {"null"}},
    {"y", "SET k 1", {}},  // held
    {"z", "MULTI", {"OK"}},
    {"z", "GET k", {"QUEUED"}},
    {"z", "EXEC", {"[null]"}},
    {"a", "CLIENT UNPAUSE", {"OK"}},
    {"y", "", {"OK"}},
    {"y", "PING", {"PONG"}},
    // REPLY
    {"a", "CLIENT REPLY", {kSubcommandArity + "reply' command"}},
    {"a", "CLIENT REPLY x", {"(error) ERR syntax error"}},
    {"a", "CLIENT REPLY ON x", {kSubcommandArity + "reply' command"}},
    {"a", "CLIENT REPLY ON", {"OK"}},
    {"a", "CLIENT REPLY SKIP", {}},
    {"a", "ECHO skipped", {}},
    {"a", "ECHO heard", {"\"heard\""}},
    {"a", "CLIENT REPLY OFF", {}},
    {"a", "ECHO unheard", {}},
    {"a", "nope", {}},
    {"a", "CLIENT REPLY SKIP", {}},
    {"a", "CLIENT REPLY ON", {"OK"}},
    {"a", "ECHO heard", {"\"heard\""}},
    {"a", "CLIENT REPLY OFF", {}},
    {"a", "RESET", {"RESET"}},
};

struct Named {
  const char* name;
  const Script* script;
};
const Named kScripts[] = {
    {"transactions", &kTransactions}, {"pubsub", &kPubSub}, {"tracking", &kTracking}, {"client", &kClient}};

TEST(Conversations, AsWritten) {
  for (const auto& [name, script] : kScripts) {
    SCOPED_TRACE(name);
    RunningServer running;
    Conversation(running.address()).run(*script);
    // Everything that was remembered for a connection goes with it.
    ASSERT_TRUE(running.eventually([&] { return running.server().stats().connections == 0; }));
    EXPECT_EQ(running.stats().buffers_bytes, 0u);
    const std::string info = running.on_loop([&] { return running.server().info_sections(); });
    for (const char* none : {"tracking_clients:0\r\n", "pubsub_channels:0\r\n", "pubsub_patterns:0\r\n",
                             "tracking_total_prefixes:0\r\n"}) {
      EXPECT_NE(info.find(none), std::string::npos) << none << " in " << info;
    }
  }
}

TEST(Conversations, AsRedis) {
  if (!installed("redis-server")) GTEST_SKIP() << "NOT TESTED: redis-server is not installed";
  for (const auto& [name, script] : kScripts) {
    SCOPED_TRACE(name);
    const TemporaryFolder folder;
    Redis redis(folder);
    ASSERT_TRUE(redis.ready());
    Conversation theirs(redis.path());
    theirs.run(*script);
    RunningServer running;
    Conversation ours(running.address());
    ours.run(*script);
    EXPECT_EQ(ours.bytes(), theirs.bytes());
  }
}

}  // namespace
}  // namespace tidelock
