// What object stores say in XML: lists, errors, the name of a multipart upload.
//
// Threads: pure functions. Cost: one pass, by expat. Limits: kXmlBytesMax, kXmlDepthMax; a document type or an entity
// of its own is refused. Errors: kCorrupt.
#pragma once

#include <string>
#include <vector>

#include "base/bytes.h"
#include "base/result.h"
#include "store/objects/object_store.h"

namespace tidelock {

inline constexpr std::size_t kXmlBytesMax = 4u << 20;
inline constexpr std::size_t kXmlDepthMax = 16;

// The text of the element with this path of names ("Error/Code"): the first, trimmed; empty when there is none. Names
// are without namespaces.
Result<std::string> xml_text(BytesView xml, const std::string& path);
// ListBucketResult, with keys in URL encoding when it says so.
Result<ObjectPage> parse_s3_list(BytesView xml);
// EnumerationResults of Azure Blob.
Result<ObjectPage> parse_azure_list(BytesView xml);

}  // namespace tidelock
