#include "tidelock/result_cache.h"

#include "base/bytes.h"
#include "codec/signature.h"

namespace tidelock {
namespace {

constexpr std::string_view kPrefix = "result:";  // of no namespace that ships: gateway scope, local writes

}  // namespace

Result<std::string> result_key(const ModelReceipt& model, std::string_view preprocessing, std::string_view input) {
  if (model.digest.size() != kSha256Bytes) {
    return fail(Code::kInvalid, "the receipt's digest has " + std::to_string(model.digest.size()) +
                                    " bytes; take the receipt of a ModelUse, whose digest has " +
                                    std::to_string(kSha256Bytes));
  }
  if (preprocessing.size() > kPreprocessingBytesMax) {
    return fail(Code::kInvalid, "preprocessing is " + std::to_string(preprocessing.size()) +
                                    " bytes; it must be at most " + std::to_string(kPreprocessingBytesMax));
  }
  // Each part is hashed by itself: so no byte can move from one to the next.
  return std::string(kPrefix) + to_hex(sha256(model.digest + sha256(preprocessing) + sha256(input)));
}

Result<Receipt> ResultCache::find(const std::string& key, ValueRef& out) {
  return client_.get_ref(key, Contract{Consistency::kEventual, {}, {}, {}}, out);
}

Result<void> ResultCache::keep(const std::string& key, std::string_view result) {
  if (!key.starts_with(kPrefix))
    return fail(Code::kInvalid, "'" + key + "' is no key of a result; result_key() makes them");
  if (result.size() > options_.bytes_max) {
    return fail(Code::kInvalid, "the result is " + std::to_string(result.size()) + " bytes; bytes_max is " +
                                    std::to_string(options_.bytes_max));
  }
  if (options_.ttl_ms < 1)
    return fail(Code::kInvalid, "ttl_ms is " + std::to_string(options_.ttl_ms) + "; it must be at least 1");
  SetOptions how;
  how.ttl_ms = options_.ttl_ms;
  const auto written = client_.set(key, result, how);
  if (!written) return fail(written.error());
  return {};
}

}  // namespace tidelock
