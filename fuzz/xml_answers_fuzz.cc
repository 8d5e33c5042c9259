// What an object store, or who answers in its place, says in XML. A list is refused, or it is understood in full:
// written again from what was understood, it is understood the same, in either dialect.
#include "fuzz/fuzz.h"
#include "store/objects/xml_answers.h"
#include "wire/http/web_client.h"

namespace tidelock::fuzz {
namespace {

std::string written_s3(const ObjectPage& page) {
  std::string out = "<ListBucketResult><EncodingType>url</EncodingType>";
  for (const ObjectInfo& one : page.objects)
    out += "<Contents><Key>" + percent_encode(one.key) + "</Key><Size>" + std::to_string(one.size_bytes) +
           "</Size></Contents>";
  return out + "</ListBucketResult>";
}

std::string written_azure(const ObjectPage& page) {
  std::string out = "<EnumerationResults><Blobs>";
  for (const ObjectInfo& one : page.objects)
    out += "<Blob><Name Encoded=\"true\">" + percent_encode(one.key) + "</Name><Properties><Content-Length>" +
           std::to_string(one.size_bytes) + "</Content-Length></Properties></Blob>";
  return out + "</Blobs></EnumerationResults>";
}

void check(const Result<ObjectPage>& page) {
  if (!page) return;
  TIDELOCK_ASSERT(page->objects.size() <= kListMax);
  const auto s3 = parse_s3_list(written_s3(*page));
  const auto azure = parse_azure_list(written_azure(*page));
  TIDELOCK_ASSERT(s3 && s3->objects == page->objects);
  TIDELOCK_ASSERT(azure && azure->objects == page->objects);
}

}  // namespace

std::vector<Seed> seeds() {
  return {
      {"s3_list",
       "<?xml version=\"1.0\" encoding=\"UTF-8\"?><ListBucketResult xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\">"
       "<Name>b</Name><IsTruncated>true</IsTruncated><NextContinuationToken>t</NextContinuationToken><EncodingType>url"
       "</EncodingType><Contents><Key>a%2Fb+c</Key><Size>12</Size></Contents></ListBucketResult>"},
      {"azure_list",
       "<?xml version=\"1.0\"?><EnumerationResults ContainerName=\"c\"><Blobs><Blob><Name>a b</Name><Properties>"
       "<Content-Length>3</Content-Length></Properties></Blob><Blob><Name Encoded=\"true\">%EF%BF%BE</Name><Properties>"
       "<Content-Length>4</Content-Length></Properties></Blob></Blobs><NextMarker/></EnumerationResults>"},
      {"error", "<Error><Code>NoSuchKey</Code><Message>&lt;none&gt;</Message></Error>"},
      {"entity", "<!DOCTYPE a [<!ENTITY b \"c\">]><Error><Code>&b;</Code></Error>"},
      {"upload", "<InitiateMultipartUploadResult><UploadId>2~x</UploadId></InitiateMultipartUploadResult>"}};
}

void run(BytesView input) {
  check(parse_s3_list(input));
  check(parse_azure_list(input));
  const auto code = xml_text(input, "Error/Code");
  TIDELOCK_ASSERT(!code || code->size() <= input.size());
}

}  // namespace tidelock::fuzz
