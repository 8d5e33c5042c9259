#include "store/objects/xml_answers.h"

#include <expat.h>

#include <charconv>
#include <functional>
#include <memory>

#include "wire/http/web_client.h"

namespace tidelock {
namespace {

struct Walk {
  XML_Parser parser = nullptr;
  std::string path, text;
  std::vector<std::size_t> lengths;  // of `path` before each open element
  bool refused = false;
  bool encoded = false;  // the innermost element that opened bears Encoded="true"
  // The path, the trimmed text, and whether it was marked as percent-encoded, when an element ends.
  std::function<void(const std::string& path, const std::string& text, bool encoded)> on_end;

  static std::string_view local(const char* name) {
    const std::string_view whole = name;
    const std::size_t colon = whole.rfind(':');
    return colon == whole.npos ? whole : whole.substr(colon + 1);
  }
  void refuse() {
    refused = true;
    XML_StopParser(parser, XML_FALSE);
  }
  static void open(void* self, const char* name, const char** attributes) {
    auto& walk = *static_cast<Walk*>(self);
    if (walk.lengths.size() >= kXmlDepthMax) return walk.refuse();
    walk.lengths.push_back(walk.path.size());
    walk.path.append(walk.path.empty() ? "" : "/").append(local(name));
    walk.text.clear();
    walk.encoded = false;
    for (; attributes[0] != nullptr; attributes += 2)
      walk.encoded =
          walk.encoded || (std::string_view(attributes[0]) == "Encoded" && std::string_view(attributes[1]) == "true");
  }
  static void close(void* self, const char*) {
    auto& walk = *static_cast<Walk*>(self);
    const std::size_t begin = walk.text.find_first_not_of("\r\n\t");
    const std::size_t end = walk.text.find_last_not_of("\r\n\t");
    walk.on_end(walk.path, begin == std::string::npos ? "" : walk.text.substr(begin, end - begin + 1), walk.encoded);
    walk.path.resize(walk.lengths.back());
    walk.lengths.pop_back();
    walk.text.clear();
    walk.encoded = false;
  }
  static void letters(void* self, const char* text, int length) {
    static_cast<Walk*>(self)->text.append(text, static_cast<std::size_t>(length));
  }
  static void document_type(void* self, const char*, const char*, const char*, int) {
    static_cast<Walk*>(self)->refuse();
  }
};

Result<void> walk_xml(BytesView xml, decltype(Walk::on_end) on_end) {
  if (xml.size() > kXmlBytesMax)
    return fail(Code::kCorrupt,
                "XML of " + std::to_string(xml.size()) + " bytes; at most " + std::to_string(kXmlBytesMax));
  const std::unique_ptr<XML_ParserStruct, decltype(&XML_ParserFree)> parser(XML_ParserCreate("UTF-8"), &XML_ParserFree);
  if (!parser) return fail(Code::kUnavailable, "XML: no memory");
  Walk walk;
  walk.parser = parser.get();
  walk.on_end = std::move(on_end);
  XML_SetUserData(parser.get(), &walk);
  XML_SetElementHandler(parser.get(), &Walk::open, &Walk::close);
  XML_SetCharacterDataHandler(parser.get(), &Walk::letters);
  XML_SetStartDoctypeDeclHandler(parser.get(), &Walk::document_type);
  if (XML_Parse(parser.get(), xml.data(), static_cast<int>(xml.size()), XML_TRUE) == XML_STATUS_OK) return {};
  if (walk.refused)
    return fail(Code::kCorrupt, "XML with a document type, or nested deeper than " + std::to_string(kXmlDepthMax));
  return fail(Code::kCorrupt, std::string("not XML: ") + XML_ErrorString(XML_GetErrorCode(parser.get())));
}

bool number_of(const std::string& text, std::uint64_t& out) {
  return std::from_chars(text.data(), text.data() + text.size(), out).ptr == text.data() + text.size() && !text.empty();
}

// The entry that ends here, onto the page; false: it has no name or length, or the page is full.
bool take_entry(ObjectPage& page, ObjectInfo& one, std::string& size) {
  if (!number_of(size, one.size_bytes) || one.key.empty() || page.objects.size() >= kListMax) return false;
  page.objects.push_back(std::move(one));
  one = ObjectInfo{};
  size.clear();
  return true;
}

}  // namespace

Result<std::string> xml_text(BytesView xml, const std::string& path) {
  std::string found;
  bool seen = false;
  const auto ok = walk_xml(xml, [&](const std::string& at, const std::string& text, bool) {
    if (at == path && !seen) {
      found = text;
      seen = true;
    }
  });
  if (!ok) return fail(ok.error());
  return found;
}

Result<ObjectPage> parse_s3_list(BytesView xml) {
  ObjectPage page;
  ObjectInfo one;
  std::string size, encoding, next, truncated, root;
  Result<void> broken{};
  const auto ok = walk_xml(xml, [&](const std::string& at, const std::string& text, bool) {
    if (at == "ListBucketResult/EncodingType") encoding = text;
    if (at == "ListBucketResult/IsTruncated") truncated = text;
    if (at == "ListBucketResult/NextContinuationToken") next = text;
    if (at == "ListBucketResult/Contents/Key") one.key = text;
    if (at == "ListBucketResult/Contents/Size") size = text;
    if (at == "ListBucketResult/Contents" && !take_entry(page, one, size) && broken)
      broken = fail(Code::kCorrupt, "list: an entry without key or size, or more than " + std::to_string(kListMax));
    if (at.find('/') == std::string::npos) root = at;
  });
  if (!ok) return fail(ok.error());
  if (!broken) return fail(broken.error());
  if (root != "ListBucketResult") return fail(Code::kCorrupt, "list: not a ListBucketResult");
  if (encoding == "url") {
    for (ObjectInfo& object : page.objects) {
      auto key = percent_decode(object.key, true);
      if (!key) return fail(key.error());
      object.key = std::move(*key);
    }
  }
  if (truncated == "true") {
    if (next.empty()) return fail(Code::kCorrupt, "list: truncated, and no NextContinuationToken");
    page.next = next;
  }
  return page;
}

Result<ObjectPage> parse_azure_list(BytesView xml) {
  ObjectPage page;
  ObjectInfo one;
  std::string size, root;
  Result<void> broken{};
  const auto ok = walk_xml(xml, [&](const std::string& at, const std::string& text, bool encoded) {
    if (at == "EnumerationResults/NextMarker") page.next = text;
    if (at == "EnumerationResults/Blobs/Blob/Properties/Content-Length") size = text;
    if (at == "EnumerationResults/Blobs/Blob/Name") {
      one.key = text;
      if (encoded) {
        auto key = percent_decode(text);
        if (!key && broken) broken = fail(key.error());
        if (key) one.key = std::move(*key);
      }
    }
    if (at == "EnumerationResults/Blobs/Blob" && !take_entry(page, one, size) && broken)
      broken = fail(Code::kCorrupt, "list: an entry without name or length, or more than " + std::to_string(kListMax));
    if (at.find('/') == std::string::npos) root = at;
  });
  if (!ok) return fail(ok.error());
  if (!broken) return fail(broken.error());
  if (root != "EnumerationResults") return fail(Code::kCorrupt, "list: not EnumerationResults");
  return page;
}

}  // namespace tidelock
