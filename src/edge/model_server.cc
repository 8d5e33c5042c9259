#include "edge/model_server.h"

#include <algorithm>
#include <chrono>
#include <utility>

#include "store/models/server_folder.h"
#include "telemetry/log.h"
#include "wire/http/web_client.h"

namespace tidelock {
namespace {

constexpr Nanos kBackoffFirst = 200 * kMillisecond;
constexpr Nanos kBackoffMost = 5 * kSecond;
constexpr std::size_t kProblemBytesMax = 300;

// What a server said of a failure, as one line of a log.
std::string said(const WebAnswer& answer) {
  std::string text = "HTTP " + std::to_string(answer.status);
  if (!answer.body.empty()) text += ": " + answer.body.substr(0, kProblemBytesMax);
  std::replace_if(text.begin(), text.end(), [](char c) { return static_cast<unsigned char>(c) < ' '; }, ' ');
  return text;
}

}  // namespace

ModelServer::ModelServer(const ModelServerSettings& settings, const Clock& clock, Metrics& metrics)
    : settings_(settings),
      url_(settings.url.ends_with('/') ? settings.url.substr(0, settings.url.size() - 1) : settings.url),
      clock_(clock),
      metrics_(metrics),
      loads_(metrics.counter("tidelock_model_server_loads_total", "Loads that the inference server was told.")),
      failures_(metrics.counter("tidelock_model_server_failures_total",
                                "Attempts that did not bring a release to the inference server.")) {}

Result<std::unique_ptr<ModelServer>> ModelServer::open(const ModelServerSettings& settings, const Clock& clock,
                                                       Metrics& metrics) {
  if (const auto ok = check_model_server(settings); !ok) return fail(ok.error());
  std::unique_ptr<ModelServer> server(new ModelServer(settings, clock, metrics));
  WebOptions web;
  web.idle_timeout_ms = settings.timeout_ms;  // it says nothing while it loads
  server->web_ = std::make_unique<WebClient>(web);
  auto folder = ServerFolder::open(settings.folder);
  if (!folder) return fail(folder.error());
  server->folder_ = std::move(*folder);
  server->thread_ = std::thread([raw = server.get()] { raw->run(); });
  return server;
}

ModelServer::~ModelServer() { stop(); }

void ModelServer::stop() {
  {
    const std::lock_guard lock(mutex_);
    stopping_ = true;
  }
  web_->stop();
  changed_.notify_all();
  if (thread_.joinable()) thread_.join();
}

bool ModelServer::stopping() const {
  const std::lock_guard lock(mutex_);
  return stopping_;
}

void ModelServer::in_force(Index activation, std::string release, Manifest manifest) {
  {
    const std::lock_guard lock(mutex_);
    Wanted& wanted = queue_[manifest.name];
    if (activation < wanted.activation) return;
    wanted = Wanted{activation, std::move(release), std::move(manifest)};
  }
  changed_.notify_one();
}

void ModelServer::recalled(const std::string& name, const std::string& version) {
  {
    const std::lock_guard lock(mutex_);
    recalls_[name].insert(version);
  }
  changed_.notify_one();
}

void ModelServer::run() {
  for (;;) {
    std::map<std::string, Wanted> fresh;
    std::map<std::string, std::set<std::string>> recalls;
    {
      std::unique_lock lock(mutex_);
      Nanos due = kForever;
      for (const auto& [name, model] : models_) due = std::min(due, model.due);
      const auto ready = [this] { return stopping_ || !queue_.empty() || !recalls_.empty(); };
      if (due == kForever) {
        changed_.wait(lock, ready);
      } else {
        const Nanos wait = std::clamp<Nanos>(saturating_sub(due, clock_.now()), 0, settings_.look_again_ns);
        changed_.wait_for(lock, std::chrono::nanoseconds(wait), ready);
      }
      if (stopping_) return;
      fresh.swap(queue_);
      recalls.swap(recalls_);
    }
    for (auto& [name, versions] : recalls) {
      Served& model = models_[name];
      model.recalled.merge(versions);
      if (model.wanted && model.recalled.contains(model.wanted->manifest.version)) model.wanted.reset();
      if (model.gone) continue;
      model.gone = model.recalled.contains(model.version);
      model.due = model.backoff_ns = 0;
      if (model.placed.value == 0 && !model.wanted) model.due = kForever;  // nothing of this run is there
    }
    for (auto& [name, wanted] : fresh) {
      Served& model = models_[name];
      if (wanted.activation <= model.placed) continue;                 // S5: laid out already, or older than that
      if (model.recalled.contains(wanted.manifest.version)) continue;  // M7
      if (model.gauge == nullptr) {
        model.gauge = &metrics_.gauge("tidelock_model_server_index",
                                      "Activation index of the release that the inference server said to be ready.",
                                      {{"model", name}});
      }
      model.wanted = std::move(wanted);
      model.due = model.backoff_ns = 0;
    }
    for (auto& [name, model] : models_) {
      if (clock_.now() >= model.due && !stopping()) tend(name, model);
    }
  }
}

void ModelServer::tend(const std::string& name, Served& model) {
  const bool was_ready = model.ready && !model.wanted;
  const auto done = bring(name, model);
  const Nanos now = clock_.now();
  if (done && model.gone) {
    log(LogLevel::kWarn, "models", "inference server was told to unload what was recalled",
        {{"model", name}, {"index", model.placed.value}});
    model.ready = false;
    model.problem.clear();
    model.due = kForever;
    model.gauge->set(0);
    return;
  }
  if (done) {
    if (!was_ready) {
      log(LogLevel::kInfo, "models", "inference server serves", {{"model", name}, {"index", model.placed.value}});
    }
    model.ready = true;
    model.problem.clear();
    model.backoff_ns = 0;
    model.due = url_.empty() ? kForever : saturating_add(now, settings_.look_again_ns);
    model.gauge->set(static_cast<double>(model.placed.value));
    return;
  }
  if (stopping()) return;
  model.ready = false;
  failures_.add(1);
  if (model.problem != done.error().message) {
    model.problem = done.error().message;
    log(LogLevel::kWarn, "models", "inference server does not serve the release in force",
        {{"model", name}, {"message", model.problem}});
  }
  model.backoff_ns = model.backoff_ns == 0 ? kBackoffFirst : std::min(2 * model.backoff_ns, kBackoffMost);
  model.due = saturating_add(now, model.backoff_ns);
}

// The folder first, then the server, and only when it serves the new release does an older one go.
Result<void> ModelServer::bring(const std::string& name, Served& model) {
  if (model.wanted) {
    if (auto ok = folder_->place(model.wanted->activation, model.wanted->release, model.wanted->manifest); !ok) {
      return ok;
    }
    model.placed = model.wanted->activation;
    model.version = model.wanted->manifest.version;
    model.gone = false;
    model.wanted.reset();
  }
  if (model.gone) {  // M7: out of the server first, which reads the folder as long as it serves from it
    if (!url_.empty()) {
      if (auto ok = unload(name); !ok) return ok;
    }
    return folder_->prune(name, {});
  }
  if (!url_.empty()) {
    auto ready = is_ready(name, model.placed);
    if (!ready) return fail(ready.error());
    if (!*ready) {
      if (auto ok = load(name); !ok) return ok;
      ready = is_ready(name, model.placed);
      if (!ready) return fail(ready.error());
      if (!*ready) {
        return fail(Code::kUnavailable, "it loaded '" + name + "' and does not serve version " +
                                            std::to_string(model.placed.value) +
                                            " of it; its version policy must be to serve the latest");
      }
    }
  }
  if (model.tidy == model.placed && model.recalled.empty()) return {};
  std::vector<Index> keep = {model.placed};
  for (const Index version : folder_->versions(name)) {  // the newest of those before it
    if (version < model.placed) keep.push_back(version);
  }
  if (keep.size() > 2) keep = {keep.front(), keep.back()};
  if (!model.recalled.empty()) keep.resize(1);  // M7: of the one before, nobody knows any more that it was not recalled
  if (auto ok = folder_->prune(name, keep); !ok) return ok;
  model.tidy = model.placed;
  return {};
}

Result<bool> ModelServer::is_ready(const std::string& name, Index version) {
  WebRequest request;
  request.url = url_ + "/v2/models/" + name + "/versions/" + std::to_string(version.value) + "/ready";
  request.timeout_ms = settings_.timeout_ms;
  const auto answer = web_->perform(request);
  if (!answer) return fail(answer.error());
  // Triton says it by the status; others of this protocol add, or only have, {"ready": false}.
  return answer->status == 200 && answer->body.find("false") == Bytes::npos;
}

Result<void> ModelServer::unload(const std::string& name) {
  WebRequest request;
  request.method = "POST";
  request.url = url_ + "/v2/repository/models/" + name + "/unload";
  request.timeout_ms = settings_.timeout_ms;
  const auto answer = web_->perform(request);
  if (!answer) return fail(answer.error());
  if (answer->status == 200) return {};
  return fail(Code::kUnavailable, "it does not unload '" + name + "': " + said(*answer));
}

Result<void> ModelServer::load(const std::string& name) {
  loads_.add(1);
  WebRequest request;
  request.method = "POST";
  request.url = url_ + "/v2/repository/models/" + name + "/load";
  request.timeout_ms = settings_.timeout_ms;
  const auto answer = web_->perform(request);
  if (!answer) return fail(answer.error());
  if (answer->status == 200) return {};
  return fail(Code::kUnavailable, "it does not load '" + name + "': " + said(*answer));
}

}  // namespace tidelock
