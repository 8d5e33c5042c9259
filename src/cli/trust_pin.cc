#include "cli/trust_pin.h"

#include <charconv>

#include "cli/config.h"
#include "codec/signature.h"
#include "codec/trust.h"
#include "codec/trust_state.h"

namespace tidelock {

Result<void> pin_trust(const std::string& root, const std::string& sha256, EdgeModelSettings& models) {
  if (!root.empty() && !sha256.empty())
    return fail(Code::kInvalid, "[trust]: root and root_sha256 say the same; give one of them");
  if (!root.empty()) {
    auto bytes = read_file(root);
    if (!bytes) return fail(Code::kInvalid, "trust.root = " + bytes.error().message);
    const auto holds = Trust::anchor(*bytes);
    if (!holds) return fail(Code::kInvalid, "trust.root = \"" + root + "\": " + holds.error().message);
    models.trust_root = std::move(*bytes);
  }
  if (sha256.empty()) return {};
  Bytes digest;
  for (std::size_t i = 0; i + 1 < sha256.size(); i += 2) {
    unsigned byte = 0;
    const char* const at = sha256.data() + i;
    if (std::from_chars(at, at + 2, byte, 16).ptr != at + 2) break;
    digest += static_cast<char>(byte);
  }
  if (sha256.size() != 2 * kSha256Bytes || digest.size() != kSha256Bytes) {
    return fail(Code::kInvalid, "trust.root_sha256 = \"" + sha256 +
                                    "\": must be the 64 digits that `tidelock key show` prints as content of the root");
  }
  models.trust_root_sha256 = std::move(digest);
  return {};
}

std::string pinned_sha256(const EdgeModelSettings& models) {
  if (models.trust_root.empty()) return to_hex(models.trust_root_sha256);
  const auto file = parse_trust(models.trust_root);
  return file ? to_hex(trust_content_sha256(*file)) : std::string();
}

}  // namespace tidelock
