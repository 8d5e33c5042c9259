// URLs, encodings, and what a server may do to a client.
#include "wire/http/web_client.h"

#include "base/rng.h"
#include "wire/http/server_fixture.h"

namespace tidelock {
namespace {

TEST(PercentEncoding, GoesBothWays) {
  EXPECT_EQ(percent_encode("a b/c+~%\xC3\xA4"), "a%20b%2Fc%2B~%25%C3%A4");
  EXPECT_EQ(percent_encode("a b/c", true), "a%20b/c");
  EXPECT_EQ(percent_decode("a+b%2b%41").value_or("?"), "a+b+A");
  EXPECT_EQ(percent_decode("a+b%2B", true).value_or("?"), "a b+");
  for (const char* bad : {"%", "%4", "%zz", "a%4"}) EXPECT_FALSE(percent_decode(bad)) << bad;
  for (std::uint64_t seed = 1; seed <= 200; ++seed) {
    Rng rng(seed);
    Bytes bytes(rng.below(60), '\0');
    for (char& c : bytes) c = static_cast<char>(rng.next());
    EXPECT_EQ(percent_decode(percent_encode(bytes)).value_or("?"), bytes) << "seed " << seed;
  }
}

TEST(WebClient, BoundsWhatAServerSends) {
  std::string raw;
  ScriptedServer server([&](const std::string&) { return ScriptedServer::Plan{raw}; });
  const struct {
    const char* why;
    std::string raw;
    Code code;
    const char* says;
  } cases[] = {
      {"a body that never ends", ScriptedServer::answer(200, std::string(5'000, 'x')), Code::kCorrupt,
       "above 1000 bytes"},
      {"an error that never ends", ScriptedServer::answer(500, std::string(5'000, 'x')), Code::kCorrupt,
       "above 1000 bytes"},
      {"headers without end",
       [] {
         std::string all = "HTTP/1.1 200 OK\r\n";
         for (int i = 0; i < 200; ++i) all += "X-H: y\r\n";
         return all + "\r\n";
       }(),
       Code::kCorrupt, "headers"},
      {"no HTTP", "SSH-2.0-OpenSSH\r\n\r\n", Code::kUnavailable, "GET http://127.0.0.1"},
      {"a short body", "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nabc", Code::kUnavailable, "GET http://127.0.0.1"},
  };
  WebClient web{WebOptions{}};
  for (const auto& c : cases) {
    raw = c.raw;
    WebRequest request;
    request.url = server.url() + "/path?token=hunter2";
    request.body_bytes_max = 1'000;
    const auto answer = web.perform(request);
    ASSERT_FALSE(answer) << c.why;
    EXPECT_EQ(answer.error().code, c.code) << c.why << ": " << answer.error().message;
    EXPECT_NE(answer.error().message.find(c.says), std::string::npos) << c.why << ": " << answer.error().message;
    EXPECT_EQ(answer.error().message.find("hunter2"), std::string::npos) << "a query may be a token";
  }
  WebRequest nobody;
  nobody.url = "http://127.0.0.1:1/";
  EXPECT_EQ(web.perform(nobody).error().code, Code::kUnavailable);
}

}  // namespace
}  // namespace tidelock
