// The server's end of one fetch. What the peer says and what is sent meet in `run`, on the pool, never twice at once.
// Finish is called there, once, when no write is in flight; a peer that has gone is noticed as a read or a write that
// failed.
//
// What takes long before there is anything to send (a file to be pulled from elsewhere, a delta to be made) is not
// waited for on the pool: the source says later that it has more, by a function that may be called when this object is
// gone.
#pragma once

#include <atomic>
#include <deque>
#include <functional>
#include <memory>
#include <mutex>
#include <utility>

#include "base/clock.h"
#include "wire/grpc/bulk_pool.h"
#include "wire/grpc/internal.h"

namespace tidelock::wire {

class FetchReactor final : public grpc::ServerBidiReactor<Frame, Frame> {
 public:
  using Open = std::function<Result<std::unique_ptr<FetchSource>>(Bytes first, std::function<void()> more)>;
  // `open` runs on the pool; `gone` before this object is destroyed, `left` is the last thing that it does.
  FetchReactor(grpc::CallbackServerContext* context, BulkPool& pool, const Clock& clock, Open open,
               std::function<void(FetchReactor*)> gone, std::function<void()> left)
      : context_(context),
        pool_(pool),
        clock_(clock),
        open_(std::move(open)),
        gone_(std::move(gone)),
        left_(std::move(left)),
        moved_at_(clock.now()),
        bell_(std::make_shared<Bell>()) {
    bell_->reactor = this;
    StartRead(&incoming_);
  }
  // Ends it from outside: the peer sees a broken stream. Until `gone` has been called.
  void cut() {
    const std::lock_guard lock(mutex_);
    if (!finished_) context_->TryCancel();
  }
  // Since when neither end has moved.
  Nanos moved_at() const { return moved_at_.load(std::memory_order_relaxed); }

 private:
  struct Bell {
    std::mutex mutex;
    FetchReactor* reactor = nullptr;  // guarded; null: it is gone
  };
  static constexpr std::size_t kSaidMax = 8;               // frames that wait for the pool
  static constexpr std::size_t kSaidBytesMax = 64u << 10;  // of one: who says more is not an edge of ours

  void OnReadDone(bool ok) override {
    moved_at_.store(clock_.now(), std::memory_order_relaxed);
    bool again = ok;
    {
      const std::lock_guard lock(mutex_);
      ok = ok && incoming_.body().size() <= kSaidBytesMax;
      again = ok;
      if (ok) said_.push_back(std::move(*incoming_.mutable_body()));
      if (!ok) peer_done_ = true;
      if (ok && said_.size() >= kSaidMax) {
        again = false;
        reading_ = false;
      }
    }
    if (again) StartRead(&incoming_);
    schedule();
  }
  void OnWriteDone(bool ok) override {
    moved_at_.store(clock_.now(), std::memory_order_relaxed);
    {
      const std::lock_guard lock(mutex_);
      writing_ = false;
      if (!ok) peer_done_ = true;
    }
    schedule();
  }
  void OnCancel() override {
    {
      const std::lock_guard lock(mutex_);
      peer_done_ = true;
    }
    schedule();
  }
  void OnDone() override {
    {
      const std::lock_guard lock(bell_->mutex);
      bell_->reactor = nullptr;
    }
    gone_(this);
    const std::function<void()> left = std::move(left_);
    delete this;
    left();
  }

  void schedule() {
    {
      const std::lock_guard lock(mutex_);
      if (finished_) return;
      if (std::exchange(scheduled_, true)) {
        once_more_ = true;
        return;
      }
    }
    pool_.post([this] { run(); });
  }

  void run() {
    for (;;) {
      std::deque<Bytes> said;
      bool over = false, writing = false, read_on = false;
      {
        const std::lock_guard lock(mutex_);
        once_more_ = false;
        said.swap(said_);
        over = peer_done_;
        writing = writing_;
        read_on = !std::exchange(reading_, true);
      }
      if (read_on) StartRead(&incoming_);
      Result<std::optional<Bytes>> frame = std::optional<Bytes>{};
      if (!failed_ && !over) frame = turn(std::move(said), writing);
      if (!frame) failed_ = to_status(frame.error());
      if (frame && *frame) {
        {
          const std::lock_guard lock(mutex_);
          writing_ = true;
        }
        outgoing_.set_body(std::move(**frame));
        StartWrite(&outgoing_);
      }
      {
        const std::lock_guard lock(mutex_);
        if (!once_more_ || ((failed_ || peer_done_) && !writing_)) {
          if ((failed_ || peer_done_) && !writing_) {
            finished_ = true;  // nothing is scheduled any more: this is the last use of this object but for Finish
          } else {
            scheduled_ = false;
            return;
          }
        }
        if (!finished_) continue;
      }
      source_.reset();
      Finish(failed_ ? *failed_ : grpc::Status::OK);
      return;
    }
  }

  Result<std::optional<Bytes>> turn(std::deque<Bytes> said, bool writing) {
    for (Bytes& one : said) {
      if (!source_) {
        auto source = open_(std::move(one), [bell = bell_] {
          const std::lock_guard lock(bell->mutex);
          if (bell->reactor != nullptr) bell->reactor->schedule();
        });
        if (!source) return fail(source.error());
        source_ = std::move(*source);
      } else if (auto ok = source_->take(std::move(one)); !ok) {
        return fail(ok.error());
      }
    }
    if (!source_ || writing) return std::optional<Bytes>{};
    auto frame = source_->next();
    if (frame && *frame) {
      if (auto ok = check_frame_size((*frame)->size()); !ok) return fail(ok.error());
    }
    return frame;
  }

  grpc::CallbackServerContext* const context_;
  BulkPool& pool_;
  const Clock& clock_;
  const Open open_;
  const std::function<void(FetchReactor*)> gone_;
  std::function<void()> left_;
  std::atomic<Nanos> moved_at_;
  const std::shared_ptr<Bell> bell_;
  Frame incoming_;                       // read callbacks
  Frame outgoing_;                       // whoever set writing_
  std::unique_ptr<FetchSource> source_;  // the pool's, as what follows
  std::optional<grpc::Status> failed_;

  std::mutex mutex_;  // guards what follows
  std::deque<Bytes> said_;
  bool reading_ = true;
  bool writing_ = false;
  bool peer_done_ = false;  // it sends no more, or is gone
  bool scheduled_ = false;
  bool once_more_ = false;  // something came while the pool was at it
  bool finished_ = false;
};

}  // namespace tidelock::wire
