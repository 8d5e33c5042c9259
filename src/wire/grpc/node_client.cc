// Requests on a completion queue of their own, so that each step of a transfer has a deadline of its own and the
// caller's thread does the polling: no other thread is woken.
#include <algorithm>
#include <atomic>
#include <chrono>
#include <deque>
#include <mutex>

#include "wire/grpc/internal.h"

namespace tidelock {

using wire::Frame;

namespace {

using SystemTime = std::chrono::system_clock::time_point;  // gRPC's deadlines; nothing of ours is decided by them

SystemTime after_ms(int ms) { return std::chrono::system_clock::now() + std::chrono::milliseconds(ms); }

// One operation at a time. Once an operation has timed out the request is cancelled, which ends that operation too.
class Steps {
 public:
  explicit Steps(grpc::ClientContext& context) : context_(context) {}
  ~Steps() {
    queue_.Shutdown();
    void* tag = nullptr;
    bool ok = false;
    while (queue_.Next(&tag, &ok)) {
    }
  }
  grpc::CompletionQueue* queue() { return &queue_; }
  void* tag() { return this; }
  // Waits for the operation that was started with tag().
  bool done(int timeout_ms) {
    void* tag = nullptr;
    bool ok = false;
    if (queue_.AsyncNext(&tag, &ok, after_ms(timeout_ms)) == grpc::CompletionQueue::GOT_EVENT) return ok;
    timed_out_ = true;
    context_.TryCancel();
    return queue_.Next(&tag, &ok) && ok;
  }
  bool timed_out() const { return timed_out_; }

 private:
  grpc::ClientContext& context_;
  grpc::CompletionQueue queue_;
  bool timed_out_ = false;
};

}  // namespace

struct NodeClient::Impl {
  NodeClientOptions options;
  std::mutex mutex;
  std::shared_ptr<grpc::Channel> channel;  // guarded; null: the next request makes one
  std::atomic<std::uint64_t> connections{0};

  // A channel whose first attempt to connect is over, well or not: in the second case a request on it fails at once
  // with the cause. kUnavailable when it is not over in time.
  Result<std::shared_ptr<grpc::Channel>> connected(int timeout_ms);
  // The request's error. A channel that could not connect is thrown away, so that the next request tries anew at once.
  Error failed(const grpc::Status& status, const std::shared_ptr<grpc::Channel>& used);
};

Result<std::shared_ptr<grpc::Channel>> NodeClient::Impl::connected(int timeout_ms) {
  std::shared_ptr<grpc::Channel> current;
  {
    const std::lock_guard lock(mutex);
    if (!channel || channel->GetState(false) == GRPC_CHANNEL_TRANSIENT_FAILURE) {
      const auto tls = wire::load_tls(options.tls);
      if (!tls) return fail(tls.error());
      auto made = wire::make_channel(
          *tls, {options.address, options.expected_hub, options.keepalive, options.connect_timeout_ms, options.role});
      if (!made) return fail(made.error());
      channel = std::move(*made);
    }
    current = channel;
  }
  const int wait_ms = std::min(timeout_ms, options.connect_timeout_ms);
  const SystemTime deadline = after_ms(wait_ms);
  bool opened = false;
  for (;;) {
    const grpc_connectivity_state state = current->GetState(true);
    if (state == GRPC_CHANNEL_READY && opened) connections.fetch_add(1, std::memory_order_relaxed);
    if (state != GRPC_CHANNEL_IDLE && state != GRPC_CHANNEL_CONNECTING) return current;
    opened = true;
    if (!current->WaitForStateChange(state, deadline)) {
      return fail(Code::kUnavailable, options.address + ": no connection within " + std::to_string(wait_ms) + " ms");
    }
  }
}

Error NodeClient::Impl::failed(const grpc::Status& status, const std::shared_ptr<grpc::Channel>& used) {
  Error error = wire::from_status(status, options.address);
  if (error.code == Code::kUnavailable) {
    const std::lock_guard lock(mutex);
    if (channel == used) channel.reset();
  }
  return error;
}

NodeClient::NodeClient(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
NodeClient::~NodeClient() = default;

Result<std::unique_ptr<NodeClient>> NodeClient::make(NodeClientOptions options) {
  if (const auto tls = wire::load_tls(options.tls); !tls) return fail(tls.error());
  if (auto ok = wire::parse_address(options.address); !ok) return fail(ok.error());
  if (!options.expected_hub.empty()) {
    if (auto ok = check_node_id(options.expected_hub); !ok) return fail(ok.error());
  }
  auto impl = std::make_unique<Impl>();
  impl->options = std::move(options);
  return std::unique_ptr<NodeClient>(new NodeClient(std::move(impl)));
}

const std::string& NodeClient::address() const { return impl_->options.address; }
std::uint64_t NodeClient::connections() const { return impl_->connections.load(std::memory_order_relaxed); }

Result<Bytes> NodeClient::call(Bytes request, int timeout_ms) {
  if (auto ok = wire::check_frame_size(request.size()); !ok) return fail(ok.error());
  const SystemTime deadline = after_ms(timeout_ms);
  auto channel = impl_->connected(timeout_ms);
  if (!channel) return fail(channel.error());
  grpc::ClientContext context;
  context.set_deadline(deadline);
  Frame question;
  question.set_body(std::move(request));
  Frame answer;
  const grpc::Status status = v1::Node::NewStub(*channel)->Call(&context, question, &answer);
  if (!status.ok()) return fail(impl_->failed(status, *channel));
  return std::move(*answer.mutable_body());
}

Result<void> NodeClient::download(Bytes request, const std::function<Result<void>(Bytes chunk)>& on_chunk,
                                  int idle_timeout_ms) {
  if (auto ok = wire::check_frame_size(request.size()); !ok) return fail(ok.error());
  auto channel = impl_->connected(idle_timeout_ms);
  if (!channel) return fail(channel.error());
  grpc::ClientContext context;
  Steps steps(context);
  Frame question;
  question.set_body(std::move(request));
  const auto stub = v1::Node::NewStub(*channel);
  const auto stream = stub->PrepareAsyncDownload(&context, question, steps.queue());
  stream->StartCall(steps.tag());
  bool going = steps.done(idle_timeout_ms);
  Result<void> refused;
  Frame chunk;
  while (going) {
    stream->Read(&chunk, steps.tag());
    going = steps.done(idle_timeout_ms);
    if (!going) break;
    refused = on_chunk(std::move(*chunk.mutable_body()));
    if (!refused) {
      context.TryCancel();
      going = false;
    }
  }
  grpc::Status status;
  stream->Finish(&status, steps.tag());
  steps.done(idle_timeout_ms);
  if (!refused) return refused;
  if (steps.timed_out()) {  // nothing is changed by a download, so it may be repeated
    return fail(Code::kUnavailable,
                impl_->options.address + ": no chunk within " + std::to_string(idle_timeout_ms) + " ms");
  }
  if (status.ok()) return {};
  Error error = impl_->failed(status, *channel);
  if (error.code == Code::kMaybeApplied) error.code = Code::kUnavailable;
  return fail(std::move(error));
}

Result<void> NodeClient::connect(int timeout_ms) {
  auto channel = impl_->connected(timeout_ms);
  if (!channel) return fail(channel.error());
  if ((*channel)->GetState(false) == GRPC_CHANNEL_READY) return {};
  const std::lock_guard lock(impl_->mutex);
  if (impl_->channel == *channel) impl_->channel.reset();
  return fail(Code::kUnavailable, impl_->options.address + ": no connection");
}

// Reads and writes overlap, each with a tag of its own; an operation under way is always waited for.
Result<void> NodeClient::fetch(Bytes first, const std::function<Result<FetchTurn>(std::optional<Bytes> came)>& turn,
                               bool* unknown) {
  if (auto ok = wire::check_frame_size(first.size()); !ok) return fail(ok.error());
  auto channel = impl_->connected(impl_->options.connect_timeout_ms);
  if (!channel) return fail(channel.error());
  grpc::ClientContext context;
  grpc::CompletionQueue queue;
  const auto stub = v1::Node::NewStub(*channel);
  const auto stream = stub->PrepareAsyncFetch(&context, &queue);
  char opening = 0, reading = 0, writing = 0, finishing = 0;  // their addresses are the tags
  int under_way = 1;
  bool can_write = false, going = true, done = false;
  std::deque<Bytes> to_say;
  to_say.push_back(std::move(first));
  Frame incoming, outgoing;
  Result<FetchTurn> wish = FetchTurn{{}, impl_->options.connect_timeout_ms, false};
  stream->StartCall(&opening);
  const auto ask = [&](std::optional<Bytes> came) {
    wish = turn(std::move(came));
    if (wish && wish->say) to_say.push_back(std::move(*wish->say));
    done = wish && wish->done;
    if (!wish || done) {
      going = false;
      context.TryCancel();
    }
  };
  bool opened = false;
  while (going || under_way > 0) {
    if (going && can_write && !to_say.empty()) {
      outgoing.set_body(std::move(to_say.front()));
      to_say.pop_front();
      can_write = false;
      ++under_way;
      stream->Write(outgoing, &writing);
    }
    void* tag = nullptr;
    bool ok = false;
    const int wait_ms = going ? std::max(0, wish->wake_ms) : 60'000;
    const auto what = queue.AsyncNext(&tag, &ok, after_ms(wait_ms));
    if (what == grpc::CompletionQueue::SHUTDOWN) break;
    if (what == grpc::CompletionQueue::TIMEOUT) {
      if (!going) continue;  // cancelled: it ends by itself
      if (opened) {
        ask(std::nullopt);
      } else {
        going = false;
        wish = fail(Code::kUnavailable, impl_->options.address + ": no answer to a fetch");
        context.TryCancel();
      }
      continue;
    }
    --under_way;
    if (!ok) {
      if (tag != &writing) going = false;  // a write that failed says nothing; the read behind it says why
      continue;
    }
    if (tag == &writing) can_write = true;
    if (tag == &opening) {
      opened = can_write = true;
      ++under_way;
      stream->Read(&incoming, &reading);
      ask(std::nullopt);
    }
    if (tag == &reading && going) {
      ask(std::move(*incoming.mutable_body()));
      if (going) {
        ++under_way;
        stream->Read(&incoming, &reading);
      }
    }
  }
  grpc::Status status;
  stream->Finish(&status, &finishing);
  void* tag = nullptr;
  bool ok = false;
  queue.Next(&tag, &ok);
  queue.Shutdown();
  while (queue.Next(&tag, &ok)) {
  }
  if (!wish) return fail(wish.error());
  if (done) return {};
  if (unknown != nullptr) *unknown = status.error_code() == grpc::StatusCode::UNIMPLEMENTED;
  if (status.ok()) return fail(Code::kUnavailable, impl_->options.address + ": the hub ended the fetch");
  Error error = impl_->failed(status, *channel);
  if (error.code == Code::kMaybeApplied) error.code = Code::kUnavailable;  // nothing is changed by a fetch
  return fail(std::move(error));
}

Result<Bytes> NodeClient::upload(Bytes first, const ChunkSource& next_chunk, int idle_timeout_ms) {
  if (auto ok = wire::check_frame_size(first.size()); !ok) return fail(ok.error());
  auto channel = impl_->connected(idle_timeout_ms);
  if (!channel) return fail(channel.error());
  grpc::ClientContext context;
  Steps steps(context);
  Frame answer;
  const auto stub = v1::Node::NewStub(*channel);
  const auto stream = stub->PrepareAsyncUpload(&context, &answer, steps.queue());
  stream->StartCall(steps.tag());
  bool going = steps.done(idle_timeout_ms);
  bool complete = false;  // the last frame was given to gRPC: from then on the upload may take effect
  Frame frame;
  frame.set_body(std::move(first));
  Result<void> local;
  while (going && !complete) {
    auto next = next_chunk();
    if (next && *next) {
      if (auto ok = wire::check_frame_size((*next)->size()); !ok) next = fail(ok.error());
    }
    if (!next) {
      local = fail(next.error());
      context.TryCancel();
      break;
    }
    const bool more = next->has_value();
    frame.set_last(!more);
    complete = !more;
    if (more) {
      stream->Write(frame, steps.tag());
    } else {
      stream->WriteLast(frame, grpc::WriteOptions(), steps.tag());
    }
    going = steps.done(idle_timeout_ms);
    if (more) frame.set_body(std::move(**next));
  }
  grpc::Status status;
  stream->Finish(&status, steps.tag());
  steps.done(idle_timeout_ms);
  if (!local) return fail(local.error());
  if (status.ok()) return std::move(*answer.mutable_body());
  Error error = impl_->failed(status, *channel);
  if (steps.timed_out()) {
    error = Error{Code::kMaybeApplied,
                  impl_->options.address + ": no progress within " + std::to_string(idle_timeout_ms) + " ms",
                  {},
                  0};
  }
  // Without its last frame the hub discards an upload.
  if (error.code == Code::kMaybeApplied && !complete) error.code = Code::kUnavailable;
  return fail(std::move(error));
}

}  // namespace tidelock
