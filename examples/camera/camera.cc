// camera is the inference process of the demo: it reads frames, runs the model in force on each, writes what it saw as
// features and reads what it and other gateways saw before. It uses the public library only, as any app would.
//
//   camera --run-dir D/edge-1/run --name edge-1 --peers edge-2,edge-3 --camera 0 --cameras 4 --log app-edge-1.jsonl
//
// Log:     one JSON object a line, described in tests/system/judge.py. Every time is CLOCK_MONOTONIC in nanoseconds,
// read
//          right before and right after the call it describes.
// Threads: the main thread takes frames; kWriters threads write features, so that a frame never waits for a disk or a
// hub. Faults:  no edge, no hub, no proof: errors are logged and frames go on with what the library still gives,
// flagged. Ends:    after --seconds, or on SIGTERM: finishes the frame, waits at most kDrainMs for writes, logs a
// summary.
#include <fcntl.h>
#include <signal.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cerrno>
#include <charconv>
#include <chrono>
#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <deque>
#include <memory>
#include <mutex>
#include <set>
#include <span>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

#include "clip.h"
#include "tidelock/client.h"
#include "tidelock/model.h"

namespace {

using tidelock::Client;
using tidelock::Code;
using tidelock::Contract;
using tidelock::kForever;
using tidelock::kMillisecond;
using tidelock::kSecond;
using tidelock::ModelHandle;
using tidelock::Nanos;

constexpr int kWriters = 8;
constexpr int kOriginWritersMax = 6;  // the others stay free for writes that wait for the local disk only
constexpr std::size_t kQueueMax = 256;
constexpr std::int64_t kDrainMs = 3'000;
constexpr std::int64_t kTrackTtlMs = 30'000;
constexpr std::int64_t kFrameTtlMs = 600'000;
constexpr Nanos kReadBound = 2 * kSecond;
constexpr Nanos kReadDeadline = 20 * kMillisecond;

std::atomic<bool> stopping{false};

std::int64_t now_ns() {
  timespec t{};
  clock_gettime(CLOCK_MONOTONIC, &t);
  return std::int64_t{t.tv_sec} * 1'000'000'000 + t.tv_nsec;
}

// --- the log ---------------------------------------------------------------------------------------------------------

// One line under construction: Line("frame").add("n", 3).add("ok", true).
class Line {
 public:
  explicit Line(std::string_view kind) { text_ = "{\"t\":\"" + std::string(kind) + '"'; }
  Line& add(std::string_view name, std::int64_t value) { return key(name, std::to_string(value)); }
  Line& add(std::string_view name, std::uint64_t value) { return key(name, std::to_string(value)); }
  Line& add(std::string_view name, int value) { return key(name, std::to_string(value)); }
  Line& add(std::string_view name, bool value) { return key(name, value ? "true" : "false"); }
  Line& add(std::string_view name, const char* value) { return add(name, std::string_view(value)); }
  Line& add(std::string_view name, std::string_view value) {
    std::string quoted = "\"";
    for (const char c : value) {
      if (c == '"' || c == '\\') quoted += '\\';
      quoted += static_cast<unsigned char>(c) < 0x20 ? ' ' : c;
    }
    return key(name, quoted + '"');
  }
  Line& add(std::string_view name, std::span<const float> values) {
    std::string list = "[";
    for (const float value : values) {
      char text[32];
      const auto end = std::to_chars(text, text + sizeof text, value).ptr;
      if (list.size() > 1) list += ',';
      list.append(text, end);
    }
    return key(name, list + ']');
  }
  std::string finish() { return text_ + "}\n"; }

 private:
  Line& key(std::string_view name, std::string_view value) {
    text_ += ",\"";
    text_ += name;
    text_ += "\":";
    text_ += value;
    return *this;
  }
  std::string text_;
};

// Each line is one write to a file opened for appending: whole, or cut off by a kill.
class Log {
 public:
  explicit Log(const std::string& path)
      : fd_(path.empty() ? STDOUT_FILENO : open(path.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644)) {}
  bool is_open() const { return fd_ >= 0; }
  void write(Line& line) {
    const std::string text = line.finish();
    const std::lock_guard lock(mutex_);
    std::size_t done = 0;
    while (done < text.size()) {
      const ssize_t put = ::write(fd_, text.data() + done, text.size() - done);
      if (put < 0 && errno != EINTR) return;
      if (put > 0) done += static_cast<std::size_t>(put);
    }
  }
  void error(std::string_view what, const tidelock::Error& error) {
    Line line("error");
    write(line.add("what", what).add("code", code_name(error.code)).add("message", error.message).add("at", now_ns()));
  }

 private:
  const int fd_;
  std::mutex mutex_;
};

// --- a feature -------------------------------------------------------------------------------------------------------

// What a feature's bytes are: who wrote them, the writer's count, when, the embedding, and a sum over all of that.
struct Feature {
  static constexpr std::size_t kNumbers = 32;
  char magic[8] = {'f', 'e', 'a', 't', 'u', 'r', 'e', '1'};
  char writer[32] = {};
  std::uint64_t seq = 0;
  std::int64_t written_ns = 0;
  std::array<float, kNumbers> embedding{};
  std::uint64_t sum = 0;

  std::uint64_t sum_of_all() const {
    std::array<unsigned char, sizeof(Feature)> bytes{};
    std::memcpy(bytes.data(), this, sizeof *this);
    std::uint64_t hash = 0xcbf29ce484222325ull;
    for (std::size_t i = 0; i < offsetof(Feature, sum); ++i) hash = (hash ^ bytes[i]) * 0x100000001b3ull;
    return hash;
  }
  std::string bytes() const { return {reinterpret_cast<const char*>(this), sizeof *this}; }
  // False when the bytes are no feature at all.
  bool read(std::string_view from) {
    if (from.size() != sizeof *this) return false;
    std::memcpy(static_cast<void*>(this), from.data(), sizeof *this);
    return sum == sum_of_all();
  }
  std::string_view writer_name() const { return {writer, strnlen(writer, sizeof writer)}; }
};
static_assert(sizeof(Feature) == 8 + 32 + 8 + 8 + Feature::kNumbers * 4 + 8);

// Writes features in the background. One key is never written by two threads at once, so its writes arrive in the order
// of their seq; a newer embedding replaces one that still waits in the queue. When kQueueMax keys wait, the newest is
// refused.
class FeatureWriter {
 public:
  FeatureWriter(Client& client, Log& log, std::string name) : client_(client), log_(log), name_(std::move(name)) {
    for (int i = 0; i < kWriters; ++i) threads_.emplace_back([this] { work(); });
  }
  ~FeatureWriter() { stop(); }

  void submit(const std::string& key, std::int64_t ttl_ms, const std::array<float, Feature::kNumbers>& embedding) {
    {
      const std::lock_guard lock(mutex_);
      const auto waiting =
          std::find_if(queue_.begin(), queue_.end(), [&](const Item& item) { return item.key == key; });
      if (waiting != queue_.end()) {
        waiting->embedding = embedding;
        ++replaced_;
      } else if (queue_.size() < kQueueMax) {
        queue_.push_back({key, ttl_ms, embedding});
      } else {
        ++refused_;
      }
    }
    changed_.notify_one();
  }

  // Waits until nothing is queued or in flight, at most `wait_ms`. Returns how many writes were left.
  std::size_t drain(std::int64_t wait_ms) {
    std::unique_lock lock(mutex_);
    idle_.wait_for(lock, std::chrono::milliseconds(wait_ms), [this] { return queue_.empty() && busy_.empty(); });
    return queue_.size() + busy_.size();
  }
  void stop() {
    {
      const std::lock_guard lock(mutex_);
      stopped_ = true;
    }
    changed_.notify_all();
    for (std::thread& thread : threads_) {
      if (thread.joinable()) thread.join();
    }
  }
  std::uint64_t replaced() {
    const std::lock_guard lock(mutex_);
    return replaced_;
  }
  std::uint64_t refused() {
    const std::lock_guard lock(mutex_);
    return refused_;
  }

 private:
  struct Item {
    std::string key;
    std::int64_t ttl_ms = 0;
    std::array<float, Feature::kNumbers> embedding{};
  };

  void work() {
    std::unique_lock lock(mutex_);
    for (;;) {
      const auto next =
          std::find_if(queue_.begin(), queue_.end(), [&](const Item& item) { return !busy_.contains(item.key); });
      if (stopped_) return;
      if (next == queue_.end()) {
        changed_.wait(lock);
        continue;
      }
      const Item item = *next;
      queue_.erase(next);
      busy_.insert(item.key);
      const std::uint64_t seq = ++seq_;
      const bool origin = seq % 4 == 0 && origin_writers_ < kOriginWritersMax;
      if (origin) ++origin_writers_;
      lock.unlock();
      write(item, seq, origin ? "origin" : "disk");
      lock.lock();
      if (origin) --origin_writers_;
      busy_.erase(item.key);
      if (queue_.empty() && busy_.empty()) idle_.notify_all();
      changed_.notify_one();
    }
  }

  void write(const Item& item, std::uint64_t seq, const char* ack) {
    Feature feature;
    std::memcpy(feature.writer, name_.data(), std::min(name_.size(), sizeof feature.writer));
    feature.seq = seq;
    feature.embedding = item.embedding;
    const std::int64_t begin = now_ns();
    feature.written_ns = begin;
    feature.sum = feature.sum_of_all();
    const auto written = client_.set(item.key, feature.bytes(), {item.ttl_ms, ack});
    const std::int64_t end = now_ns();
    Line line("write");
    line.add("key", item.key).add("seq", seq).add("b", begin).add("e", end).add("ttl", item.ttl_ms * kMillisecond);
    line.add("ack", ack).add("ok", written.has_value());
    if (written) {
      line.add("version", written->version.value);
    } else {
      line.add("code", code_name(written.error().code)).add("message", written.error().message);
    }
    log_.write(line);
  }

  Client& client_;
  Log& log_;
  const std::string name_;
  std::mutex mutex_;
  std::condition_variable changed_, idle_;
  std::deque<Item> queue_;
  std::set<std::string> busy_;  // keys in flight
  // Rises over restarts of the process too, so that a key's seq never goes back on one machine.
  std::uint64_t seq_ = static_cast<std::uint64_t>(now_ns() / 1'000);
  int origin_writers_ = 0;
  std::uint64_t replaced_ = 0, refused_ = 0;
  bool stopped_ = false;
  std::vector<std::thread> threads_;
};

// --- the frames
// --------------------------------------------------------------------------------------------------------

struct Options {
  std::string run_dir, name, model = "detector", log, fault;
  std::vector<std::string> peers;
  int camera = 0, cameras = 4;
  std::int64_t fps = 6, seconds = 0, start_frame = 0;
};

std::string track_key(const std::string& camera, std::uint32_t id) {
  return "feature:track:" + camera + ":" + std::to_string(id);
}

class Camera {
 public:
  Camera(const Options& options, Log& log, Client& client, ModelHandle& handle)
      : options_(options),
        log_(log),
        client_(client),
        handle_(handle),
        writer_(client, log, options.name),
        clip_({options.camera, options.cameras, 1}),
        ids_(clip_.object_ids()) {}

  void run() {
    const std::int64_t period = kSecond / options_.fps;
    const std::int64_t begin = now_ns();
    std::int64_t due = begin;
    for (std::uint64_t n = 0; !stopping && (options_.seconds == 0 || due < begin + options_.seconds * kSecond); ++n) {
      const timespec at{due / kSecond, due % kSecond};
      while (!stopping && clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &at, nullptr) == EINTR) {
      }
      if (stopping) break;
      take_frame(n, due);
      due += period;
      const std::int64_t now = now_ns();
      if (due + period < now) due = now;  // stopped, or far behind: a camera does not wait, those frames are gone
    }
  }

  void finish() {
    const std::size_t pending = writer_.drain(kDrainMs);
    writer_.stop();
    const auto stats = client_.stats();
    Line line("end");
    line.add("at", now_ns())
        .add("frames", frames_)
        .add("pending", std::uint64_t{pending})
        .add("replaced", writer_.replaced());
    line.add("refused", writer_.refused()).add("reads", stats.reads).add("l1_hits", stats.l1_hits);
    line.add("arena_hits", stats.arena_hits).add("edge_reads", stats.edge_reads).add("fallbacks", stats.fallbacks);
    log_.write(line);
  }

 private:
  void take_frame(std::uint64_t n, std::int64_t due) {
    const auto frame = clip_.frame(n + static_cast<std::uint64_t>(options_.start_frame));
    const std::int64_t begin = now_ns();
    auto use = handle_.acquire();
    const std::int64_t end = now_ns();
    log_swaps();
    if (!use) return log_.error("acquire", use.error());
    tidelock::Model* model = use->model.get();
#ifdef TIDELOCK_TEST_BUILD
    // The planted lie: the first version's bytes go on being run under the label of whatever is in force.
    if (options_.fault == "wrong-model") {
      if (first_ == nullptr) first_ = use->model;
      model = first_.get();
    }
#endif
    const std::array<tidelock::TensorView, 1> inputs = {tidelock::camera::input_of(frame)};
    const std::int64_t run_begin = now_ns();
    const auto outputs = model->run(inputs);
    const std::int64_t run_end = now_ns();
    if (!outputs) return log_.error("run", outputs.error());
    const auto* signature = tidelock::find_tensor(*outputs, "signature");
    const auto* detections = tidelock::find_tensor(*outputs, "detections");
    const auto* features = tidelock::find_tensor(*outputs, "features");
    if (signature == nullptr || detections == nullptr || features == nullptr) {
      return log_.error("run", {Code::kInvalid, "the model has no signature, detections or features", {}, 0});
    }
    const int objects = handle_objects(frame, *detections, *features);
    write_frame_record(n, signature->values, frame.mean);
    const auto& receipt = use->receipt;
    ++frames_;
    Line line("frame");
    line.add("n", n).add("due", due).add("b", begin).add("e", end).add("version", receipt.version);
    line.add("activation", receipt.activation.value).add("proven", receipt.proven).add("fallback", receipt.fallback);
    line.add("bound", receipt.bound_ns)
        .add("basis", basis_name(receipt.basis))
        .add("run_b", run_begin)
        .add("run_e", run_end);
    line.add("sig", std::span<const float>(signature->values)).add("stat", std::span<const float>(frame.mean));
    line.add("objects", objects).add("done", now_ns());
    log_.write(line);
  }

  void log_swaps() {
    for (const auto& swap : handle_.take_swaps()) {
      Line line("swap");
      line.add("version", swap.version).add("activation", swap.activation.value);
      log_.write(line.add("seen", swap.pointer_seen_ns).add("swapped", swap.swapped_ns));
    }
  }

  // Each detection that matches a thing of the clip is a sighting: its embedding is written, and what this camera and
  // another one wrote about the same thing before is read.
  int handle_objects(const tidelock::camera::Frame& frame, const tidelock::Tensor& detections,
                     const tidelock::Tensor& features) {
    int seen = 0;
    for (const auto& detection : tidelock::camera::decode_detections(detections)) {
      const auto* object = matching(frame, detection);
      if (object == nullptr) continue;
      ++seen;
      if (seen_.insert(object->id).second) {
        read(track_key(options_.name, object->id), true);  // a first sight here: absence has a bound, too
      } else {
        read(track_key(options_.name, object->id), false);
      }
      if (!options_.peers.empty()) read(track_key(options_.peers[turn_++ % options_.peers.size()], object->id), false);
      std::array<float, Feature::kNumbers> embedding{};
      const std::vector<float> values = tidelock::camera::object_embedding(features, detection.box);
      std::copy_n(values.begin(), std::min(values.size(), embedding.size()), embedding.begin());
      writer_.submit(track_key(options_.name, object->id), kTrackTtlMs, embedding);
    }
    // Things that other cameras see now, and what everybody saw last of one that is out of sight.
    for (int i = 0; i < 2 && !options_.peers.empty() && !ids_.empty(); ++i) {
      const std::uint64_t at = turn_++;
      read(track_key(options_.peers[at % options_.peers.size()], ids_[at / options_.peers.size() % ids_.size()]),
           false);
    }
    return seen;
  }

  static const tidelock::camera::ClipObject* matching(const tidelock::camera::Frame& frame,
                                                      const tidelock::camera::Detection& found) {
    const tidelock::camera::ClipObject* best = nullptr;
    float best_overlap = 0;
    for (const auto& object : frame.objects) {
      const float width = std::min(object.box.x + object.box.width, found.box.x + found.box.width) -
                          std::max(object.box.x, found.box.x);
      const float height = std::min(object.box.y + object.box.height, found.box.y + found.box.height) -
                           std::max(object.box.y, found.box.y);
      const float overlap = std::max(width, 0.0f) * std::max(height, 0.0f);
      if (object.class_number == found.class_number && overlap > best_overlap) {
        best = &object;
        best_overlap = overlap;
      }
    }
    return best;
  }

  // What the frame was scored with, under a key of its own: written once, so nothing newer can hide its loss.
  void write_frame_record(std::uint64_t n, const std::vector<float>& signature, const std::array<float, 3>& mean) {
    std::array<float, Feature::kNumbers> numbers{};
    const std::size_t count = std::min(signature.size(), numbers.size() - mean.size());
    std::copy_n(signature.begin(), count, numbers.begin());
    std::copy(mean.begin(), mean.end(), numbers.begin() + static_cast<std::ptrdiff_t>(count));
    writer_.submit("feature:frame:" + options_.name + ":" + std::to_string(n), kFrameTtlMs, numbers);
  }

  void read(const std::string& key, bool absence_expected) {
    Contract contract;
    contract.bound_ns = kReadBound;
    contract.deadline_ns = kReadDeadline;
    if (reads_++ % 8 == 7) contract.token = newest_;  // F10: nothing older than what this app has been shown
    tidelock::Receipt absence;
    const std::int64_t begin = now_ns();
    const auto value = client_.get(key, contract, &absence);
    const std::int64_t end = now_ns();
    Line line("read");
    line.add("key", key).add("b", begin).add("e", end).add("ok", value.has_value()).add("token", contract.token.value);
    if (!value) {
      const bool absent = value.error().code == Code::kNotFound;
      line.add("code", code_name(value.error().code)).add("bound", absent ? absence.bound_ns : value.error().detail_ns);
      if (!absent) line.add("message", value.error().message);
      if (absent && absence_expected) line.add("first", true);
      return log_.write(line);
    }
    const auto& receipt = value->receipt;
    Feature feature;
    const bool whole = feature.read(value->bytes);
    line.add("seq", feature.seq)
        .add("writer", feature.writer_name())
        .add("whole", whole)
        .add("version", receipt.version.value);
    line.add("bound", receipt.bound_ns).add("writers", receipt.writers_ns).add("basis", basis_name(receipt.basis));
    line.add("source", source_name(receipt.source)).add("fallback", receipt.fallback);
    log_.write(line);
    const bool sequenced = receipt.basis == tidelock::Basis::kLease || receipt.basis == tidelock::Basis::kProof;
    if (sequenced) newest_ = std::max(newest_, receipt.version);
  }

  const Options& options_;
  Log& log_;
  Client& client_;
  ModelHandle& handle_;
  FeatureWriter writer_;
  const tidelock::camera::Clip clip_;
  const std::vector<std::uint32_t> ids_;
  std::set<std::uint32_t> seen_;
  std::uint64_t frames_ = 0, reads_ = 0, turn_ = 0;
  tidelock::Index newest_;
#ifdef TIDELOCK_TEST_BUILD
  std::shared_ptr<tidelock::Model> first_;
#endif
};

// --- the program
// -------------------------------------------------------------------------------------------------------

int usage(const std::string& why) {
  std::fprintf(stderr,
               "camera: %s\n"
               "usage: camera --run-dir DIR --name NAME [--peers A,B] [--camera K] [--cameras N] [--model NAME]\n"
               "              [--fps N] [--seconds N] [--start-frame N] [--log FILE]\n"
               "example: camera --run-dir demo/edge-1/run --name edge-1\n",
               why.c_str());
  return 2;
}

// An empty string, or what is wrong.
std::string parse(int argc, char** argv, Options& options) {
  const auto number = [](std::string_view text, auto& into, std::int64_t low, std::int64_t high) {
    std::int64_t value = 0;
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
    if (error != std::errc() || end != text.data() + text.size() || value < low || value > high) return false;
    into = static_cast<std::remove_reference_t<decltype(into)>>(value);
    return true;
  };
  for (int i = 1; i < argc; i += 2) {
    const std::string flag = argv[i];
    if (i + 1 >= argc) return flag + " needs a value";
    const std::string value = argv[i + 1];
    bool good = true;
    if (flag == "--run-dir") {
      options.run_dir = value;
    } else if (flag == "--name") {
      options.name = value;
      good = !value.empty() && value.size() < 32;
    } else if (flag == "--peers") {
      for (std::size_t at = 0; at <= value.size();) {
        const std::size_t end = std::min(value.find(',', at), value.size());
        if (end > at) options.peers.push_back(value.substr(at, end - at));
        at = end + 1;
      }
    } else if (flag == "--model") {
      options.model = value;
    } else if (flag == "--log") {
      options.log = value;
    } else if (flag == "--camera") {
      good = number(value, options.camera, 0, 63);
    } else if (flag == "--cameras") {
      good = number(value, options.cameras, 1, 64);
    } else if (flag == "--fps") {
      good = number(value, options.fps, 1, 1'000);
    } else if (flag == "--seconds") {
      good = number(value, options.seconds, 0, 1'000'000);
    } else if (flag == "--start-frame") {
      good = number(value, options.start_frame, 0, 1'000'000'000);
#ifdef TIDELOCK_TEST_BUILD
    } else if (flag == "--break") {
      options.fault = value;
      good = value == "wrong-model";
#endif
    } else {
      return "unknown flag '" + flag + "'";
    }
    if (!good) return flag + " '" + value + "' is out of range";
  }
  if (options.run_dir.empty()) return "--run-dir is missing: the run_dir of this gateway's edge";
  if (options.name.empty()) return "--name is missing: what this camera is called in keys";
  return {};
}

void watch_signals() {
  struct sigaction action{};
  action.sa_handler = [](int) { stopping = true; };
  sigaction(SIGTERM, &action, nullptr);
  sigaction(SIGINT, &action, nullptr);
  signal(SIGPIPE, SIG_IGN);
}

// Tries until it works or the process is told to stop: an app may start before its edge, an edge before any model.
template <class Attempt>
auto persist(Log& log, const char* what, Attempt attempt) {
  for (;;) {
    auto result = attempt();
    if (result || stopping) return result;
    log.error(what, result.error());
    std::this_thread::sleep_for(std::chrono::milliseconds(200));
  }
}

}  // namespace

int main(int argc, char** argv) {
  Options options;
  if (const std::string why = parse(argc, argv, options); !why.empty()) return usage(why);
  watch_signals();
  Log log(options.log);
  if (!log.is_open()) {
    std::fprintf(stderr, "camera: --log %s: %s\n", options.log.c_str(), std::strerror(errno));
    return 1;
  }
  Line start("start");
  log.write(
      start.add("camera", options.name).add("pid", std::int64_t{getpid()}).add("at", now_ns()).add("fps", options.fps));
  tidelock::ClientOptions client_options;
  client_options.run_dir = options.run_dir;
  const auto client = persist(log, "connect", [&] { return Client::connect(client_options); });
  if (!client) return 0;
  tidelock::ModelOptions model_options;
  model_options.first_timeout_ms = 2'000;
  const auto handle = persist(log, "model", [&] { return ModelHandle::open(**client, options.model, model_options); });
  if (!handle) return 0;
  Camera camera(options, log, **client, **handle);
  camera.run();
  camera.finish();
  return 0;
}
