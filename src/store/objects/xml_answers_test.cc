#include "store/objects/xml_answers.h"

#include <gtest/gtest.h>

namespace tidelock {
namespace {

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
