// URLs, encodings, and what a server may do to a client.
#include "store/objects/web_client.h"

#include "base/rng.h"
#include "store/objects/server_fixture.h"
#include "store/objects/xml_answers.h"

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

TEST(XmlAnswers, FindTexts) {
  const std::string xml =
      "<?xml version=\"1.0\"?><Error xmlns=\"http://s3\"><Code>NoSuch&amp;Key</Code><x:A xmlns:x=\"y\"><B> b "
      "</B></x:A></Error>";
  EXPECT_EQ(xml_text(xml, "Error/Code").value_or("?"), "NoSuch&Key");
  EXPECT_EQ(xml_text(xml, "Error/A/B").value_or("?"), " b ");
  EXPECT_EQ(xml_text(xml, "Error/None").value_or("?"), "");
  std::string deep;
  for (int i = 0; i < 40; ++i) deep += "<a>";
  const struct {
    const char* why;
    std::string xml;
  } refused[] = {{"not XML", "Service unavailable"},
                 {"empty", ""},
                 {"cut", "<a><b>"},
                 {"an entity of its own", "<!DOCTYPE a [<!ENTITY b \"c\">]><a>&b;</a>"},
                 {"too deep", deep},
                 {"too long", "<a>" + std::string(kXmlBytesMax, ' ') + "</a>"}};
  for (const auto& c : refused) {
    const auto got = xml_text(c.xml, "a");
    ASSERT_FALSE(got) << c.why;
    EXPECT_EQ(got.error().code, Code::kCorrupt) << c.why;
  }
}

TEST(XmlAnswers, ReadLists) {
  const auto s3 = parse_s3_list(
      "<ListBucketResult><EncodingType>url</EncodingType><IsTruncated>true</IsTruncated><NextContinuationToken>t/1=</"
      "NextContinuationToken><Contents><Key>a%2Bb+c</Key><Size>12</Size></Contents><Contents><Key>d</Key><Size>0</Size>"
      "</Contents></ListBucketResult>");
  ASSERT_TRUE(s3) << s3.error().message;
  EXPECT_EQ(s3->objects, (std::vector<ObjectInfo>{{"a+b c", 12, ""}, {"d", 0, ""}}));
  EXPECT_EQ(s3->next, "t/1=");
  const auto azure = parse_azure_list(
      "\xEF\xBB\xBF<?xml version=\"1.0\" encoding=\"utf-8\"?><EnumerationResults><Blobs><Blob><Name>a "
      "b</Name><Properties>"
      "<Content-Length>3</Content-Length></Properties></Blob><Blob><Name Encoded=\"true\">%EF%BF%BE</Name><Properties>"
      "<Content-Length>4</Content-Length></Properties></Blob></Blobs><NextMarker /></EnumerationResults>");
  ASSERT_TRUE(azure) << azure.error().message;
  EXPECT_EQ(azure->objects, (std::vector<ObjectInfo>{{"a b", 3, ""}, {"\xEF\xBF\xBE", 4, ""}}));
  EXPECT_EQ(azure->next, "");
  for (const char* bad : {"<Other/>", "<ListBucketResult><Contents><Key>a</Key></Contents></ListBucketResult>",
                          "<ListBucketResult><Contents><Size>1</Size></Contents></ListBucketResult>",
                          "<ListBucketResult><Contents><Key>a</Key><Size>-1</Size></Contents></ListBucketResult>",
                          "<ListBucketResult><IsTruncated>true</IsTruncated></ListBucketResult>",
                          "<ListBucketResult><EncodingType>url</EncodingType><Contents><Key>%</Key><Size>1</Size></"
                          "Contents></ListBucketResult>"})
    EXPECT_FALSE(parse_s3_list(bad)) << bad;
}

}  // namespace
}  // namespace tidelock
