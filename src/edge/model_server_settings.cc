// A file of its own, as l2_settings.cc is.
#include "edge/model_server.h"
#include "wire/http/web_client.h"

namespace tidelock {

Result<void> check_model_server(const ModelServerSettings& settings) {
  if (settings.folder.empty() && !settings.url.empty()) {
    return fail(Code::kInvalid, "model_server.url = '" + settings.url +
                                    "' without model_server.folder: name the folder that the server reads");
  }
  if (!settings.folder.empty() && settings.folder.front() != '/') {
    return fail(Code::kInvalid, "model_server.folder = '" + settings.folder + "': must be an absolute path");
  }
  if (!settings.url.empty()) {
    if (auto url = parse_web_url("model_server.url", settings.url, false); !url) return fail(url.error());
  }
  if (settings.timeout_ms < 100 || settings.timeout_ms > 3'600'000) {
    return fail(Code::kInvalid,
                "model_server.timeout_ms = " + std::to_string(settings.timeout_ms) + ": must be 100 to 3600000");
  }
  return {};
}

}  // namespace tidelock
