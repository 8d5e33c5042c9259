// chaos-app: the clients of a chaos run. They read and write as apps and operators do, and log every operation
// (history.h).
//
//   chaos-app edge --run-dir DIR --gateway N --process P --shared FILE --log PREFIX [--reads N] [--sample N]
//   chaos-app operator --config client.toml --process P --shared FILE --log PREFIX --models N
//   chaos-app final --run-dir DIR --gateway N --process P --shared FILE --log PREFIX --models N    reads every key
//   once, proven
//
// edge:      one thread of mixed reads, one that reads in bursts without a pause (what a SIGSTOP should hit), two
// writers. operator:  activations of MODELS models in turn (the strong writes), writes and linearizable reads at the
// hubs. Ends:      on SIGTERM; `final` by itself (exit code 1 when a key could not be proven in time, which the checker
// then says). The numbers of write-behind keys come from a file that all clients share, because a key is given up with
// the first write whose outcome is unknown: a later one could be overtaken by it, and then nobody could say which is
// the newer.
#include <fcntl.h>
#include <signal.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include <atomic>
#include <charconv>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <map>
#include <memory>
#include <random>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

#include "cli/config.h"
#include "cli/operator.h"
#include "codec/archive.h"
#include "history.h"
#include "tidelock/client.h"

namespace {

using chaos::Claim;
using chaos::HistoryWriter;
using chaos::KeyClass;
using chaos::Kind;
using chaos::Outcome;
using chaos::Record;
using tidelock::Client;
using tidelock::Code;
using tidelock::Consistency;
using tidelock::Contract;
using tidelock::kForever;
using tidelock::kMillisecond;
using tidelock::Receipt;
using tidelock::Result;

constexpr std::uint32_t kModelKeys = 1, kRegisterKeys = 1'000, kLifetimeKeys = 2'000, kBehindKeys = 10'000;
constexpr std::uint32_t kRegisters = 12, kLifetimes = 8, kBehindMax = 50'000, kBehindEach = 6;

std::atomic<bool> stopping{false};

std::int64_t now_ns() {
  timespec t{};
  clock_gettime(CLOCK_MONOTONIC, &t);
  return std::int64_t{t.tv_sec} * 1'000'000'000 + t.tv_nsec;
}

void pause_ms(double ms) { std::this_thread::sleep_for(std::chrono::duration<double, std::milli>(ms)); }

// ---- what all clients share: which gateway writes which write-behind key
struct Shared {
  std::atomic<std::uint32_t> keys{0};
  std::atomic<std::uint64_t> newest_version{0};  // for session tokens that travel between processes
  std::uint16_t gateway[kBehindMax];
};

Shared* map_shared(const std::string& path) {
  const int fd = ::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0644);
  if (fd < 0 || ::ftruncate(fd, sizeof(Shared)) != 0) return std::perror(path.c_str()), nullptr;
  void* map = ::mmap(nullptr, sizeof(Shared), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
  ::close(fd);
  return map == MAP_FAILED ? nullptr : static_cast<Shared*>(map);
}

// ---- keys and values
KeyClass class_of(std::uint32_t key) {
  return key >= kBehindKeys ? KeyClass::kBehind : key >= kLifetimeKeys ? KeyClass::kLifetime : KeyClass::kRegister;
}
std::string model_name(std::uint32_t key) { return "chaos-" + std::to_string(key - kModelKeys); }
std::string name_of(std::uint32_t key) {
  if (key >= kBehindKeys) return "feature:chaos:" + std::to_string(key - kBehindKeys);
  if (key >= kLifetimeKeys) return "config:chaos:short:" + std::to_string(key - kLifetimeKeys);
  if (key >= kRegisterKeys) return "config:chaos:" + std::to_string(key - kRegisterKeys);
  return tidelock::model_current_key(model_name(key));
}

std::uint64_t mix(std::uint64_t x) {
  x = (x ^ x >> 31) * 0x9e3779b97f4a7c15ull;
  return (x ^ x >> 29) * 0xbf58476d1ce4e5b9ull;
}
// Its id, a check over key and id, and a filling that both decide: a mixed or torn value cannot pass for a whole one.
// Mostly small, at times larger than what the feed carries along.
std::string value_of(std::uint32_t key, std::uint64_t id) {
  const std::uint64_t check = mix(id ^ mix(key));
  std::string bytes(16 + (check % 16 == 0 ? 5'000 + check % 900 : check % 200), static_cast<char>('a' + check % 26));
  std::memcpy(bytes.data(), &id, 8);
  std::memcpy(bytes.data() + 8, &check, 8);
  return bytes;
}
std::uint64_t id_of(std::uint32_t key, std::string_view bytes) {
  if (key < kRegisterKeys) {  // a model pointer: its version is the value
    const auto pointer = tidelock::decode<tidelock::ModelPointer>(tidelock::Bytes(bytes), "model pointer");
    std::uint64_t major = 0;
    if (pointer) std::from_chars(pointer->version.data(), pointer->version.data() + pointer->version.size(), major);
    return major == 0 ? chaos::kBrokenValue : major;
  }
  std::uint64_t id = 0;
  if (bytes.size() < 16) return chaos::kBrokenValue;
  std::memcpy(&id, bytes.data(), 8);
  return bytes == value_of(key, id) ? id : chaos::kBrokenValue;
}

// ---- one client thread: its log, its chance, its number
struct Options {
  std::string mode, run_dir, config, log, shared;
  std::uint64_t gateway = 0, process = 0, reads = 300, sample = 16, models = 1;
};

class Worker {
 public:
  Worker(const Options& options, std::uint8_t thread, Shared& shared)
      : options_(options),
        shared_(shared),
        thread_(thread),
        random_(options.process << 8 | thread),
        log_(options.log + "-" + std::to_string(thread) + ".hist") {}

 protected:
  std::uint64_t below(std::uint64_t n) { return random_() % n; }
  Record start(Kind kind, std::uint32_t key) const {
    Record record;
    record.kind = kind;
    record.key = key;
    record.key_class = class_of(key);
    record.process = static_cast<std::uint16_t>(options_.process);
    record.gateway = static_cast<std::uint16_t>(options_.gateway);
    record.begin_ns = now_ns();
    return record;
  }
  std::uint64_t next_value() {
    return chaos::value_id(static_cast<std::uint16_t>(options_.process), thread_, ++values_);
  }
  std::uint32_t any_behind() {  // mostly the newest ones, which are being written
    const std::uint32_t count = std::min(shared_.keys.load(), kBehindMax);
    if (count == 0) return kRegisterKeys;
    const std::uint32_t recent = std::min(count, 40u);
    return kBehindKeys + (below(4) == 0 ? static_cast<std::uint32_t>(below(count))
                                        : count - 1 - static_cast<std::uint32_t>(below(recent)));
  }
  void saw(std::uint64_t version) {
    std::uint64_t newest = shared_.newest_version.load(std::memory_order_relaxed);
    while (version > newest && !shared_.newest_version.compare_exchange_weak(newest, version)) {
    }
  }

  const Options& options_;
  Shared& shared_;
  const std::uint8_t thread_;
  std::mt19937_64 random_;
  HistoryWriter log_;
  std::uint64_t values_ = 0;
};

Outcome outcome_of(Code code) {
  switch (code) {
    case Code::kUnavailable:
    case Code::kNotActive:
    case Code::kBusy:
    case Code::kInvalid:
    case Code::kDenied:
    case Code::kConflict: return Outcome::kRefused;
    default: return Outcome::kUnknown;
  }
}

// A client of one edge that connects when it can.
class AtEdge : protected Worker {
 public:
  using Worker::Worker;

 protected:
  bool connect() {
    while (client_ == nullptr && !stopping) {
      auto made = Client::connect({.run_dir = options_.run_dir});
      if (made)
        client_ = std::move(*made);
      else
        pause_ms(50);
    }
    return client_ != nullptr && !stopping;
  }

  struct Got {
    Record record;
    bool answered = false;
  };
  Got read(std::uint32_t key, const Contract& contract) {
    if (key != name_key_) {
      name_ = name_of(key);
      name_key_ = key;
    }
    Got got{start(Kind::kRead, key)};
    Record& record = got.record;
    record.token = contract.token.value;
    Receipt absence;
    const auto value = client_->get(name_, contract, &absence);
    record.end_ns = now_ns();
    const bool absent = !value && value.error().code == Code::kNotFound;
    if (!value && !absent) {
      record.outcome = Outcome::kRefused;
      return got;
    }
    const Receipt& receipt = value ? value->receipt : absence;
    got.answered = true;
    record.outcome = Outcome::kOk;
    record.value = absent ? chaos::kNoValue : id_of(key, value->bytes);
    record.version = receipt.version.value;
    record.bound_ns = receipt.bound_ns == kForever ? chaos::kOpen : receipt.bound_ns;
    record.fallback = receipt.fallback;
    record.in_process = receipt.source == tidelock::Source::kL1 || receipt.source == tidelock::Source::kArena;
    if (receipt.basis == tidelock::Basis::kLease || (contract.consistency == Consistency::kStrong && !receipt.fallback))
      record.claim = Claim::kStrong;
    else if (receipt.basis == tidelock::Basis::kProof)
      record.claim = Claim::kBounded;
    else if (receipt.basis == tidelock::Basis::kLocal)
      record.claim = Claim::kLocal;
    if (record.claim == Claim::kLocal) record.version = 0;  // the edge's own count, no index of the ledger
    return got;
  }

  Result<tidelock::Written> write(std::uint32_t key, std::int64_t ttl_ms, const char* ack, Outcome& outcome) {
    Record record = start(Kind::kWrite, key);
    record.value = next_value();
    record.lifetime_ns = ttl_ms * kMillisecond;
    const std::string bytes = value_of(key, record.value), name = name_of(key);
    Record* place = log_.begin(record);
    auto written = client_->set(name, bytes, {.ttl_ms = ttl_ms, .ack = ack});
    const std::int64_t end = now_ns();
    outcome = written ? Outcome::kOk : outcome_of(written.error().code);
    const std::string level = written ? written->ack : "";
    HistoryWriter::complete(place, outcome, written ? end : chaos::kOpen, written ? written->version.value : 0,
                            level == "origin" || level == "quorum",
                            static_cast<std::uint64_t>(written ? Code::kOk : written.error().code));
    return written;
  }

  std::unique_ptr<Client> client_;

 private:
  std::string name_;
  std::uint32_t name_key_ = 0;
};

Contract bounded(std::int64_t ms) {
  return {.consistency = Consistency::kBounded, .bound_ns = ms * kMillisecond, .deadline_ns = {}, .token = {}};
}
Contract plain(Consistency consistency) {
  return {.consistency = consistency, .bound_ns = {}, .deadline_ns = {}, .token = {}};
}

class MixedReader : AtEdge {
 public:
  using AtEdge::AtEdge;
  void operator()() {
    while (connect()) {
      pause_ms(1e3 / static_cast<double>(options_.reads));
      const std::uint32_t key = any_key();
      Contract contract = any_contract(key);
      if (below(8) == 0 && class_of(key) != KeyClass::kBehind) contract.token.value = shared_.newest_version.load();
      if (below(4) == 0) contract.deadline_ns = static_cast<std::int64_t>(below(300)) * kMillisecond;
      const Got got = read(key, contract);
      log_.add(got.record);
      if (got.answered && got.record.claim != Claim::kNoClaim && class_of(key) != KeyClass::kBehind)
        saw(got.record.version);
    }
  }

 private:
  std::uint32_t any_key() {
    switch (below(5)) {
      case 0: return kModelKeys + static_cast<std::uint32_t>(below(options_.models));
      case 1: return kRegisterKeys + static_cast<std::uint32_t>(below(kRegisters));
      case 2: return kLifetimeKeys + static_cast<std::uint32_t>(below(kLifetimes));
      default: return any_behind();
    }
  }
  Contract any_contract(std::uint32_t key) {
    switch (below(6)) {
      case 0: return plain(Consistency::kEventual);
      case 1: return class_of(key) == KeyClass::kBehind ? bounded(700) : plain(Consistency::kStrong);
      case 2: return {};  // the namespace's own
      case 3: return bounded(5'000);
      default: return key < kRegisterKeys ? plain(Consistency::kStrong) : bounded(500);
    }
  }
};

// Reads a few keys without a pause for a moment, again and again. Logs one in `sample`, and each one that something
// held up.
class BurstReader : AtEdge {
 public:
  using AtEdge::AtEdge;
  void operator()() {
    constexpr std::int64_t kHeldUp = 300'000;
    while (connect()) {
      pause_ms(8);
      const std::uint32_t keys[] = {kModelKeys, kRegisterKeys + static_cast<std::uint32_t>(below(kRegisters)),
                                    any_behind(), kLifetimeKeys + static_cast<std::uint32_t>(below(kLifetimes))};
      for (std::uint32_t i = 0; i < 200 && !stopping; ++i) {
        const std::uint32_t key = keys[i / 50];
        const Got got = read(key, key < kRegisterKeys ? plain(Consistency::kStrong) : bounded(1'000));
        const std::int64_t took = got.record.end_ns - got.record.begin_ns;
        if (took > kHeldUp || below(options_.sample) == 0) log_.add(got.record);
        if (!got.answered || (!got.record.in_process && took > kHeldUp)) break;
      }
    }
  }
};

class BehindWriter : AtEdge {
 public:
  using AtEdge::AtEdge;
  void operator()() {
    static constexpr const char* kLevels[] = {"disk", "os", "origin", "disk", ""};
    static constexpr std::int64_t kLifetimesMs[] = {700, 2'000, 6'000};
    std::vector<std::uint32_t> keys;
    while (connect()) {
      while (keys.size() < kBehindEach) {
        const std::uint32_t number = shared_.keys.load() < kBehindMax ? shared_.keys.fetch_add(1) : kBehindMax;
        if (number >= kBehindMax) return;
        shared_.gateway[number] = static_cast<std::uint16_t>(options_.gateway);
        keys.push_back(kBehindKeys + number);
      }
      const std::size_t at = below(keys.size());
      // One lifetime for each key: a write that expires unsent leaves what it replaced, which by then has expired, too.
      const bool short_lived = keys[at] % 3 == 0;
      Outcome outcome = Outcome::kUnknown;
      (void)write(keys[at], short_lived ? kLifetimesMs[keys[at] / 3 % 3] : 0, kLevels[below(5)], outcome);
      if (outcome == Outcome::kUnknown) keys.erase(keys.begin() + static_cast<std::ptrdiff_t>(at));
      pause_ms(outcome == Outcome::kOk ? 15 : 60);
      if (outcome == Outcome::kOk && !keys.empty() && below(3) == 0)
        log_.add(read(keys[std::min(at, keys.size() - 1)], bounded(2'000)).record);
    }
  }
};

// Write-through, and at once a read that names the write: the session must see it (F10).
class ThroughWriter : AtEdge {
 public:
  using AtEdge::AtEdge;
  void operator()() {
    static constexpr std::int64_t kLifetimesMs[] = {0, 500, 2'000, 6'000};
    while (connect()) {
      const bool short_lived = below(3) == 0;
      const std::uint32_t key = short_lived ? kLifetimeKeys + static_cast<std::uint32_t>(below(kLifetimes))
                                            : kRegisterKeys + static_cast<std::uint32_t>(below(kRegisters));
      Outcome outcome = Outcome::kUnknown;
      const auto written = write(key, short_lived ? kLifetimesMs[below(4)] : 0, "", outcome);
      pause_ms(outcome == Outcome::kOk ? 30 : 100);
      if (!written) continue;
      saw(written->version.value);
      if (below(2) == 0) {
        Contract contract = bounded(5'000);
        contract.token = written->version;
        log_.add(read(key, contract).record);
      }
    }
  }
};

// ---- at the hubs
class AtHubs : protected Worker {
 public:
  AtHubs(const Options& options, std::uint8_t thread, Shared& shared) : Worker(options, thread, shared) {
    const auto config = tidelock::read_operator_config(options.config);
    auto made = config ? tidelock::Operator::connect(*config, 8'000)
                       : Result<std::unique_ptr<tidelock::Operator>>(fail(config.error()));
    if (!made) {
      std::fprintf(stderr, "chaos-app: %s\n", made.error().message.c_str());
      std::exit(2);
    }
    operator_ = std::move(*made);
  }

 protected:
  template <class Request>
  void write(Record record, Request request) {
    Record* place = log_.begin(record);
    const auto answer = operator_->ask(std::move(request));
    const std::int64_t end = now_ns();
    const Code code = answer ? answer->code : answer.error().code;
    const bool done = code == Code::kOk;
    HistoryWriter::complete(place, done ? Outcome::kOk : outcome_of(code), done ? end : chaos::kOpen,
                            done ? answer->index.value : 0, done, static_cast<std::uint64_t>(code));
    if (done) saw(answer->index.value);
  }
  std::unique_ptr<tidelock::Operator> operator_;
};

class Activator : AtHubs {
 public:
  using AtHubs::AtHubs;
  void operator()() {
    std::vector<std::uint64_t> version(options_.models, 1);
    while (!stopping) {
      const std::uint32_t at = static_cast<std::uint32_t>(below(options_.models));
      Record record = start(Kind::kWrite, kModelKeys + at);
      record.value = version[at];
      version[at] = 3 - version[at];
      write(record, tidelock::ActivateModel{model_name(record.key), std::to_string(record.value) + ".0.0"});
      pause_ms(60 + static_cast<double>(below(300)));
    }
  }
};

class HubClient : AtHubs {
 public:
  using AtHubs::AtHubs;
  void operator()() {
    while (!stopping) {
      const bool short_lived = below(4) == 0;
      const std::uint32_t key = short_lived ? kLifetimeKeys + static_cast<std::uint32_t>(below(kLifetimes))
                                            : kRegisterKeys + static_cast<std::uint32_t>(below(kRegisters));
      if (below(3) == 0) {
        Record record = start(Kind::kWrite, key);
        record.value = next_value();
        record.lifetime_ns = short_lived ? 1'000 * kMillisecond : 0;
        tidelock::KeyWrite one;
        one.key = name_of(key);
        one.value = value_of(key, record.value);
        one.ttl_ns = record.lifetime_ns;
        write(record, tidelock::WriteKeys{{std::move(one)}});
      } else {
        Record record = start(Kind::kRead, key);
        const auto answer = operator_->ask(tidelock::ReadKey{name_of(key)});
        record.end_ns = now_ns();
        const bool found = answer && answer->code == Code::kOk && answer->value.has_value();
        const bool absent =
            answer && (answer->code == Code::kNotFound || (answer->code == Code::kOk && !answer->value));
        record.outcome = found || absent ? Outcome::kOk : Outcome::kRefused;
        record.claim = Claim::kStrong;
        if (found) record.value = id_of(key, *answer->value);
        record.bound_ns = found || absent ? record.end_ns - record.begin_ns : chaos::kOpen;
        log_.add(record);
      }
      pause_ms(10);
    }
  }
};

// ---- at the end: what was acknowledged must be there
class FinalReader : AtEdge {
 public:
  using AtEdge::AtEdge;
  int run() {
    const std::int64_t begin = now_ns();
    std::vector<std::uint32_t> keys;
    for (std::uint32_t i = 0; i < options_.models; ++i) keys.push_back(kModelKeys + i);
    for (std::uint32_t i = 0; i < kRegisters; ++i) keys.push_back(kRegisterKeys + i);
    for (std::uint32_t i = 0; i < kLifetimes; ++i) keys.push_back(kLifetimeKeys + i);
    for (std::uint32_t i = 0; i < std::min(shared_.keys.load(), kBehindMax); ++i) keys.push_back(kBehindKeys + i);
    // A second round for what could not be proven at once; the time is that of all of them.
    for (int round = 0; round < 100 && !keys.empty() && connect() && now_ns() - begin < 60'000'000'000; ++round) {
      std::vector<std::uint32_t> again;
      for (const std::uint32_t key : keys) {
        Contract contract = key < kRegisterKeys ? plain(Consistency::kStrong) : bounded(500);
        contract.deadline_ns = 2'000 * kMillisecond;
        Got got = read(key, contract);
        got.record.final = true;
        log_.add(got.record);
        if (!got.answered || got.record.fallback) again.push_back(key);
      }
      keys = std::move(again);
      if (!keys.empty()) pause_ms(100);
    }
    return keys.empty() ? 0 : 1;
  }
};

bool number(const char* text, std::uint64_t& value) {
  const std::string_view view = text;
  return std::from_chars(view.data(), view.data() + view.size(), value).ptr == view.data() + view.size();
}

bool parse(int argc, char** argv, Options& options) {
  if (argc < 2) return false;
  options.mode = argv[1];
  const std::map<std::string_view, std::string*> texts = {{"--run-dir", &options.run_dir},
                                                          {"--config", &options.config},
                                                          {"--log", &options.log},
                                                          {"--shared", &options.shared}};
  const std::map<std::string_view, std::uint64_t*> numbers = {{"--gateway", &options.gateway},
                                                              {"--process", &options.process},
                                                              {"--reads", &options.reads},
                                                              {"--sample", &options.sample},
                                                              {"--models", &options.models}};
  for (int i = 2; i + 1 < argc; i += 2) {
    if (const auto text = texts.find(argv[i]); text != texts.end())
      *text->second = argv[i + 1];
    else if (const auto found = numbers.find(argv[i]); found == numbers.end() || !number(argv[i + 1], *found->second))
      return false;
  }
  const bool at_hubs = options.mode == "operator";
  return argc % 2 == 0 && (at_hubs || options.mode == "edge" || options.mode == "final") && !options.log.empty() &&
         !options.shared.empty() && options.process > 0 && options.process < 65'536 && options.reads > 0 &&
         options.sample > 0 && !(at_hubs ? options.config : options.run_dir).empty();
}

}  // namespace

int main(int argc, char** argv) {
  Options options;
  if (!parse(argc, argv, options))
    return std::fprintf(stderr, "chaos-app: see the head of chaos_app.cc for its arguments\n"), 2;
  struct sigaction action{};
  action.sa_handler = [](int) { stopping = true; };
  sigaction(SIGTERM, &action, nullptr);
  signal(SIGPIPE, SIG_IGN);
  Shared* shared = map_shared(options.shared);
  if (shared == nullptr) return 2;
  if (options.mode == "final") return FinalReader(options, 0, *shared).run();
  std::vector<std::thread> threads;
  const auto add = [&]<class W>(std::uint8_t thread, W*) {
    threads.emplace_back([&options, shared, thread] { W(options, thread, *shared)(); });
  };
  if (options.mode == "edge") {
    add(0, static_cast<MixedReader*>(nullptr));
    add(1, static_cast<BurstReader*>(nullptr));
    add(2, static_cast<BehindWriter*>(nullptr));
    add(3, static_cast<ThroughWriter*>(nullptr));
  } else {
    add(0, static_cast<Activator*>(nullptr));
    add(1, static_cast<HubClient*>(nullptr));
  }
  for (std::thread& thread : threads) thread.join();
  return 0;
}
