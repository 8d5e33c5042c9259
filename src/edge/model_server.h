// ModelServer lets an inference server on this gateway serve what is in force here (M11): it lays each activated and
// verified release out in the server's model repository (store/models/server_folder.h) and tells the server to load it.
//
//   POST URL/v2/repository/models/<name>/load          Triton's model repository API
//   GET  URL/v2/models/<name>/versions/<index>/ready   asked before, so that nothing is loaded twice, and behind it
//
// Without a URL the server is left to watch its folder. The version before stays until another one is ready behind the
// one in force: a server that cannot load the new one goes on with it. A server that was started anew is found out
// within look_again_ns and told again.
//
// Threads:  a thread of its own does the work and may block on disk and server; in_force and stop are for any thread.
// Errors:   logged once per cause, counted, and tried again until it is done or another version is in force.
// No promise: that the server switches at the instant of the activation. It is later by as long as it loads; in the
//           edge's own apps that wait is none (ModelHandle). What it serves is named by the version of its answer: the
//           index.
#pragma once

#include <condition_variable>
#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <set>
#include <string>
#include <thread>

#include "base/clock.h"
#include "base/ids.h"
#include "base/result.h"
#include "codec/manifest.h"
#include "telemetry/metrics.h"

namespace tidelock {

class ServerFolder;
class WebClient;

struct ModelServerSettings {
  std::string folder;                  // its model repository; empty: there is no such server
  std::string url;                     // http://127.0.0.1:8000; empty: it watches the folder
  std::int64_t timeout_ms = 60'000;    // of one answer: a load is answered when the model is loaded
  Nanos look_again_ns = 10 * kSecond;  // whether it still serves; shorter in tests
};
// kInvalid names the key, its value and what would be right.
Result<void> check_model_server(const ModelServerSettings& settings);

class ModelServer {
 public:
  // `clock` and `metrics` outlive it. Begins to work.
  static Result<std::unique_ptr<ModelServer>> open(const ModelServerSettings& settings, const Clock& clock,
                                                   Metrics& metrics);
  ~ModelServer();
  void stop();  // waits for what is under way, which it cuts short; idempotent

  // `release` is a folder with the verified files of `manifest`. An older activation than the last is ignored (S5).
  void in_force(Index activation, std::string release, Manifest manifest);
  // M7: nobody is to be served this version any more, whatever takes its place. When it is what the server serves, it
  // is unloaded and leaves the folder; and of this model nothing but what is in force lies there from now on.
  void recalled(const std::string& name, const std::string& version);

 private:
  struct Wanted {
    Index activation;
    std::string release;
    Manifest manifest;
  };
  struct Served {
    std::optional<Wanted> wanted;  // not in the folder yet
    Index placed;                  // the last that was laid out
    std::string version;           // of it; empty: it was placed by a run before this one
    std::set<std::string> recalled;
    bool gone = false;  // what was placed was recalled, and nothing was laid out since
    Index tidy;         // the last behind which older ones were removed
    bool ready = false;
    std::string problem;  // the last that was logged
    Nanos due = 0;
    Nanos backoff_ns = 0;
    Gauge* gauge = nullptr;
  };

  ModelServer(const ModelServerSettings& settings, const Clock& clock, Metrics& metrics);
  void run();
  void tend(const std::string& name, Served& model);
  Result<void> bring(const std::string& name, Served& model);
  Result<bool> is_ready(const std::string& name, Index version);
  Result<void> load(const std::string& name);
  Result<void> unload(const std::string& name);
  bool stopping() const;

  const ModelServerSettings settings_;
  const std::string url_;
  const Clock& clock_;
  Metrics& metrics_;
  Counter& loads_;
  Counter& failures_;
  std::unique_ptr<ServerFolder> folder_;
  std::unique_ptr<WebClient> web_;
  std::map<std::string, Served> models_;  // the thread's

  mutable std::mutex mutex_;
  std::condition_variable changed_;
  std::map<std::string, Wanted> queue_;
  std::map<std::string, std::set<std::string>> recalls_;  // that came since the thread last looked
  bool stopping_ = false;
  std::thread thread_;
};

}  // namespace tidelock
