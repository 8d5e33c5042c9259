// Writes one small value after another and waits for each: into hubs, into etcd, into three Raft ledgers inside this
// process, or onto the disk alone; or swaps a model back and forth. Prints "BEGIN END INDEX" in CLOCK_MONOTONIC
// nanoseconds for each acknowledged write (INDEX 0 where there is none), and "BEGIN END 0 why" for one that was not.
//
// It writes batches on demand: a line "N" on stdin asks for N writes, "0" for writes without end until stdin closes or
// the process is killed. After each batch it prints an empty line. So a bench can let two systems take turns.
#include <fcntl.h>
#include <grpcpp/generic/generic_stub.h>
#include <grpcpp/grpcpp.h>
#include <poll.h>
#include <time.h>
#include <unistd.h>

#include <chrono>
#include <condition_variable>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <utility>
#include <vector>

#include "base/elapsed_clock.h"
#include "cli/config.h"
#include "cli/operator.h"
#include "ledger/raft/raft_ledger.h"
#include "store/kv/kv.h"

namespace {

using namespace tidelock;

constexpr std::size_t kValueBytes = 100;
constexpr int kWriteTimeoutMs = 20'000;
constexpr int kEtcdTryMs =
    300;  // one member's time before the next is asked: a member that waits for a dead leader says nothing

struct Outcome {
  Outcome(std::string reason) : why(std::move(reason)) {}
  Outcome(const char* reason) : why(reason) {}
  std::string why;  // empty when the write was acknowledged
  unsigned long long index = 0;
};
using Write = std::function<Outcome()>;

long long now_ns() {
  timespec t{};
  ::clock_gettime(CLOCK_MONOTONIC, &t);
  return t.tv_sec * 1'000'000'000LL + t.tv_nsec;
}

[[noreturn]] void die(const std::string& why) {
  std::fprintf(stderr, "bench-writer: %s\n", why.c_str());
  std::exit(1);
}

// ---- real hubs, as the command line talks to them, through one connection for all writes
Write operator_writer(const std::string& client_toml, decltype(AdminRequest::body) request) {
  const auto config = read_operator_config(client_toml);
  if (!config) die(config.error().message);
  auto connected = Operator::connect(*config, kWriteTimeoutMs);
  if (!connected) die(connected.error().message);
  return [cluster = std::shared_ptr<Operator>(std::move(*connected)), request = std::move(request)]() -> Outcome {
    const auto answer = cluster->ask(request);
    if (!answer) return answer.error().message;
    if (answer->code != Code::kOk) return answer->message;
    Outcome outcome("");
    outcome.index = answer->index.value;
    return outcome;
  };
}

// Swaps a model to the version before, which gateways keep; a rollback would not be taken twice (S5).
Write swapper(const std::string& client_toml, const std::string& model) {
  const auto config = read_operator_config(client_toml);
  if (!config) die(config.error().message);
  auto connected = Operator::connect(*config, kWriteTimeoutMs);
  if (!connected) die(connected.error().message);
  const std::shared_ptr<Operator> cluster = std::move(*connected);
  std::string next, other;  // known once they were asked for, so that a write is one call
  return [cluster, model, next, other]() mutable -> Outcome {
    if (next.empty()) {
      const auto models = cluster->ask(DescribeModels{});
      if (!models) return models.error().message;
      for (const ModelView& one : models->models) {
        if (one.name == model) next = one.previous, other = one.current;
      }
      if (next.empty()) return "'" + model + "' has no version before the one in force";
    }
    const auto answer = cluster->ask(ActivateModel{model, next});
    if (!answer) return answer.error().message;
    if (answer->code != Code::kOk) return answer->message;
    std::swap(next, other);
    Outcome outcome("");
    outcome.index = answer->index.value;
    return outcome;
  };
}

// ---- etcd's v3 API, through one connection a member: PutRequest{1: key, 2: value} written by hand
class Etcd {
 public:
  explicit Etcd(const std::vector<std::string>& addresses) {
    grpc::ChannelArguments arguments;
    arguments.SetInt(GRPC_ARG_INITIAL_RECONNECT_BACKOFF_MS, 100);
    arguments.SetInt(GRPC_ARG_MIN_RECONNECT_BACKOFF_MS, 100);
    arguments.SetInt(GRPC_ARG_MAX_RECONNECT_BACKOFF_MS, 200);
    for (const std::string& address : addresses) {
      stubs_.push_back(std::make_unique<grpc::GenericStub>(
          grpc::CreateCustomChannel(address, grpc::InsecureChannelCredentials(), arguments)));
    }
    const std::string key = "config:bench";
    request_ = std::string("\x0a") + static_cast<char>(key.size()) + key + "\x12" + static_cast<char>(kValueBytes) +
               std::string(kValueBytes, 'v');
  }

  // The member that answered last is asked first: the caller names the leader first.
  std::string put() {
    const long long deadline = now_ns() + kWriteTimeoutMs * 1'000'000LL;
    std::string why;
    for (; now_ns() < deadline; first_ = (first_ + 1) % stubs_.size()) {
      why = put_at(*stubs_[first_]);
      if (why.empty()) return {};
    }
    return why;
  }

 private:
  std::string put_at(grpc::GenericStub& stub) {
    grpc::ClientContext context;
    context.set_deadline(std::chrono::system_clock::now() + std::chrono::milliseconds(kEtcdTryMs));
    const grpc::Slice slice(request_);
    const grpc::ByteBuffer body(&slice, 1);
    grpc::ByteBuffer reply;
    grpc::Status status;
    auto call = stub.PrepareUnaryCall(&context, "/etcdserverpb.KV/Put", body, &queue_);
    call->StartCall();
    call->Finish(&reply, &status, this);
    void* tag = nullptr;
    bool ok = false;
    if (!queue_.Next(&tag, &ok)) return "the queue ended";
    return status.ok() ? std::string() : status.error_message();
  }

  std::vector<std::unique_ptr<grpc::GenericStub>> stubs_;
  grpc::CompletionQueue queue_;
  std::string request_;
  std::size_t first_ = 0;
};

// ---- three ledgers in this process: real logs with synced writes, messages handed over by function call
class RaftTrio {
 public:
  explicit RaftTrio(const std::string& directory) {
    for (int i = 1; i <= 3; ++i) {
      const NodeId id = "hub-" + std::to_string(i);
      members_.push_back({id, id});
      nodes_.push_back(std::make_unique<Node>(*this, id));
    }
    for (std::size_t i = 0; i < nodes_.size(); ++i) {
      Node& node = *nodes_[i];
      const std::string home = directory + "/" + node.id;
      std::filesystem::create_directories(home + "/ledger");
      auto kv = Kv::open(home + "/db", {std::string(kRaftLogFamily), std::string(kRaftStateFamily)});
      if (!kv) die(kv.error().message);
      node.kv = std::move(*kv);
      RaftLedgerOptions options;
      options.id = node.id;
      options.members = members_;
      options.directory = home + "/ledger";
      options.seed = i + 1;
      auto ledger = RaftLedger::open(options, *node.kv, node, node, clock_);
      if (!ledger) die(ledger.error().message);
      const std::lock_guard lock(mutex_);
      node.ledger = std::move(*ledger);
    }
    std::unique_lock lock(mutex_);
    if (!changed_.wait_for(lock, std::chrono::seconds(20), [this] { return leader_ != nullptr; }))
      die("no leader within 20 s");
  }
  ~RaftTrio() {
    for (auto& node : nodes_) node->ledger->stop();
  }

  std::string append() {
    std::unique_lock lock(mutex_);
    if (leader_ == nullptr) return "no leader";
    RaftLedger& ledger = *leader_->ledger;
    const std::uint64_t number = ++appended_;
    lock.unlock();
    Bytes command(kValueBytes, 'v');
    command.replace(0, sizeof number, reinterpret_cast<const char*>(&number), sizeof number);
    ledger.append(CommandId{1, number}, std::move(command));
    lock.lock();
    const bool done =
        changed_.wait_for(lock, std::chrono::milliseconds(kWriteTimeoutMs), [&] { return committed_ >= number; });
    return done ? std::string() : "not committed in time";
  }

 private:
  struct Node : LedgerListener, RaftTransport {
    Node(RaftTrio& trio, NodeId name) : owner(trio), id(std::move(name)) {}
    void on_committed(std::vector<LedgerEntry> entries) override {
      const std::lock_guard lock(owner.mutex_);
      if (owner.leader_ != this || entries.empty()) return;
      std::uint64_t number = 0;
      entries.back().command.copy(reinterpret_cast<char*>(&number), sizeof number);
      owner.committed_ = number;
      owner.changed_.notify_all();
    }
    void on_dropped(CommandId, Code) override { die("an append was dropped; this bench wants one leader all along"); }
    void on_leadership(bool leading, NodeId) override {
      const std::lock_guard lock(owner.mutex_);
      if (leading) owner.leader_ = this;
      owner.changed_.notify_all();
    }
    Result<void> on_install(const LedgerSnapshot&) override { return {}; }
    Result<Index> on_snapshot(const std::string&) override { return fail(Code::kBusy, "a bench keeps no state"); }
    void on_failed(const Error& error) override { die(error.message); }
    void send(const NodeId& peer, Bytes message) override {
      RaftLedger* there = nullptr;
      {
        const std::lock_guard lock(owner.mutex_);
        for (auto& node : owner.nodes_) {
          if (node->id == peer) there = node->ledger.get();
        }
      }
      if (there != nullptr) there->receive(id, std::move(message));
    }
    RaftTrio& owner;
    const NodeId id;
    std::unique_ptr<Kv> kv;
    std::unique_ptr<RaftLedger> ledger;
  };

  ElapsedClock clock_{ClockShim{}};
  std::mutex mutex_;  // ledgers once open, leader_, appended_, committed_
  std::condition_variable changed_;
  std::vector<RaftMember> members_;
  Node* leader_ = nullptr;
  std::uint64_t appended_ = 0, committed_ = 0;
  std::vector<std::unique_ptr<Node>> nodes_;
};

// ---- the disk alone: what one synced append costs here
Write disk_writer(const std::string& directory) {
  const int fd = ::open((directory + "/append").c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
  if (fd < 0) die(directory + ": cannot be written");
  return [fd]() -> Outcome {
    const std::string bytes(kValueBytes, 'v');
    if (::write(fd, bytes.data(), bytes.size()) != static_cast<ssize_t>(bytes.size()) || ::fdatasync(fd) != 0)
      return "the disk failed";
    return "";
  };
}

std::vector<std::string> split(const std::string& list) {
  std::vector<std::string> parts(1);
  for (const char c : list) {
    if (c == ',')
      parts.emplace_back();
    else
      parts.back() += c;
  }
  return parts;
}

void write_once(const Write& write) {
  const long long begin = now_ns();
  const Outcome outcome = write();
  const long long end = now_ns();
  std::printf("%lld %lld %llu%s%s\n", begin, end, outcome.index, outcome.why.empty() ? "" : " ", outcome.why.c_str());
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 3)
    die("usage: bench-writer hubs CLIENT.TOML | swaps CLIENT.TOML | etcd HOST:PORT,... | raft DIR | disk DIR");
  const std::string kind = argv[1], where = argv[2];
  Write write;
  if (kind == "hubs") {
    write = operator_writer(
        where, WriteKeys{{KeyWrite{"config:bench", Bytes(kValueBytes, 'v'), 0, false, Condition::kNone, {}}}});
  } else if (kind == "swaps") {
    write = swapper(where, "detector");
  } else if (kind == "etcd") {
    write = [etcd = std::make_shared<Etcd>(split(where))] { return etcd->put(); };
  } else if (kind == "raft") {
    write = [trio = std::make_shared<RaftTrio>(where)] { return trio->append(); };
  } else if (kind == "disk") {
    write = disk_writer(where);
  } else {
    die("unknown kind '" + kind + "'");
  }

  char line[32];
  while (std::fgets(line, sizeof line, stdin) != nullptr) {
    const long count = std::strtol(line, nullptr, 10);
    if (count == 0) {
      pollfd closed{STDIN_FILENO, POLLIN, 0};
      while (::poll(&closed, 1, 0) == 0) {
        write_once(write);
        std::fflush(stdout);
      }
      return 0;
    }
    for (long i = 0; i < count; ++i) write_once(write);
    std::printf("\n");
    std::fflush(stdout);
  }
  return 0;
}
