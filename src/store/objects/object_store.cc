#include "store/objects/object_store.h"

#include <algorithm>

#include "store/objects/cloud_store.h"

namespace tidelock {
namespace {

// The length of the letter that begins here; 0 when these bytes are not UTF-8.
std::size_t letter_bytes(std::string_view text) {
  const auto byte = [&](std::size_t i) { return static_cast<unsigned char>(text[i]); };
  const unsigned char first = byte(0);
  const std::size_t length = first < 0x80                    ? 1
                             : first >= 0xC2 && first < 0xE0 ? 2
                             : first >= 0xE0 && first < 0xF0 ? 3
                             : first >= 0xF0 && first < 0xF5 ? 4
                                                             : 0;
  if (length == 0 || length > text.size()) return 0;
  for (std::size_t i = 1; i < length; ++i) {
    if ((byte(i) & 0xC0) != 0x80) return 0;
  }
  const bool overlong = (first == 0xE0 && byte(1) < 0xA0) || (first == 0xF0 && byte(1) < 0x90);
  const bool surrogate = first == 0xED && byte(1) >= 0xA0;
  const bool beyond = first == 0xF4 && byte(1) >= 0x90;
  return overlong || surrogate || beyond ? 0 : length;
}

}  // namespace

Result<void> validate_object_key(std::string_view key) {
  const auto wrong = [&](const std::string& why) {
    return fail(Code::kInvalid, "object key of " + std::to_string(key.size()) + " bytes: " + why);
  };
  if (key.empty() || key.size() > kObjectKeyBytesMax)
    return wrong("must have 1 to " + std::to_string(kObjectKeyBytesMax));
  for (std::string_view rest = key; !rest.empty();) {
    const std::size_t length = letter_bytes(rest);
    if (length == 0) return wrong("not UTF-8");
    if (static_cast<unsigned char>(rest[0]) < 0x20 || rest[0] == 0x7F) return wrong("a control character");
    rest.remove_prefix(length);
  }
  for (std::size_t at = 0; at <= key.size();) {
    const std::size_t end = std::min(key.find('/', at), key.size());
    const std::string_view part = key.substr(at, end - at);
    if (part.empty() || part == "." || part == "..") return wrong("a part between slashes is empty, '.' or '..'");
    if (part.size() > kObjectKeyPartBytesMax)
      return wrong("a part between slashes is longer than " + std::to_string(kObjectKeyPartBytesMax));
    at = end + 1;
  }
  return {};
}

Result<std::unique_ptr<ObjectStore>> open_object_store(ObjectStoreOptions options, const Clock& clock) {
  switch (options.engine) {
    case ObjectEngine::kFolder: return open_folder_store(options);
    case ObjectEngine::kS3: return open_s3_store(options, clock);
    case ObjectEngine::kAzure: return open_azure_store(options, clock);
  }
  return fail(Code::kInvalid, "store: must be folder, s3 or azure");
}

}  // namespace tidelock
