// What the library's parts share: local reads without asking, and questions to the edge.
#pragma once

#include <atomic>
#include <condition_variable>
#include <memory>
#include <mutex>
#include <optional>
#include <span>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "memory/local_reader.h"
#include "tidelock/client.h"
#include "wire/resp/client.h"

namespace tidelock {

// "-STALE bound_us=123 text": the code a Redis error stands for.
Error error_of(const std::string& text);
tl::unexpected<Error> other_kind(std::string_view key, bool is_hash);

class ClientImpl : public Client {
 public:
  explicit ClientImpl(ClientOptions options);
  ~ClientImpl() override;

  Result<Value> get(std::string_view key, const Contract& contract, Receipt* receipt_of_absence) override;
  Result<Receipt> get_into(std::string_view key, const Contract& contract, std::string& out) override;
  Result<Fields> get_fields(std::string_view key, std::span<const std::string_view> fields, const Contract& contract,
                            Receipt* receipt_of_absence) override;
  Result<Receipt> get_ref(std::string_view key, const Contract& contract, ValueRef& out) override;
  Result<Receipt> read_in_place(std::string_view key, const Contract& contract, InPlaceVisitor look) override;
  Result<void> get_many(std::span<const std::string_view> keys, const Contract& contract, ValueBatch& out) override;
  Result<void> snapshot(std::span<const std::string_view> keys, ValueBatch& out) override;
  Result<Written> set(std::string_view key, std::string_view value, const SetOptions& options) override;
  Result<bool> erase(std::string_view key) override;
  ClientStats stats() const override;

  // A read from memory only: never asks, never waits. The outcome says whether the contract held. `out` is the value as
  // it is stored (codec/typed_value.h).
  ReadOutcome peek(std::string_view key, const Contract& contract, std::string& out) {
    return reader_.read(key, contract, out);
  }
  Breaker breaker(std::string_view key) { return reader_.breaker(key); }
  std::optional<Namespace> policy_of(std::string_view key) { return reader_.policy_of(key); }
  const std::string& run_dir() const { return options_.run_dir; }
  // One question to the edge, on a connection of the pool. Waits at most `wait_ns`, and never longer than the options
  // say.
  Result<RespValue> ask(const std::vector<std::string>& command, Nanos wait_ns = kForever);
  // Several on one connection, in one go; their answers in order.
  Result<std::vector<RespValue>> ask_all(const std::vector<std::vector<std::string>>& commands);

 private:
  template <class Call>
  auto on_connection(Nanos wait_ns, Call&& call) -> decltype(call(std::declval<RespClient&>(), wait_ns));
  Result<void> all_strong(std::span<const std::string_view> keys);
  Result<void> snapshot_at_edge(std::span<const std::string_view> keys, ValueBatch& out);
  // What a read is for: the string of the key in `text`, or fields of its hash. Memory holds either as it is stored,
  // the edge answers it ready made.
  struct Want {
    std::string& text;  // of fields: where the stored hash is read to
    std::span<const std::string_view> names{};
    std::vector<std::optional<std::string>>* values = nullptr;  // null: the string
  };
  static Result<void> take_stored(std::string_view key, const Want& want);
  static Result<void> take_answer(std::string_view key, const RespValue& value, const Want& want);
  Result<Receipt> read(std::string_view key, const Contract& contract, const Want& want, bool& found);
  Result<Receipt> read_at_edge(std::string_view key, const Contract& contract, const Want& want, bool& found);
  Result<std::vector<RespValue>> ask_together(std::span<const std::string_view> keys, std::size_t from,
                                              const std::vector<ReadOutcome>& outcomes, const Contract& contract,
                                              Nanos& waited);
  // What the edge answered to TL.GET, or within the answer to TL.MGET.
  Result<Receipt> take_read(std::string_view key, const RespValue& reply, Nanos waited, const Want& want, bool& found);
  static void put_contract(std::vector<std::string>& command, const Contract& contract);
  static Nanos patience(const Contract& contract);
  Result<Receipt> read_elsewhere(std::string_view key, const Contract& contract, const ReadOutcome& outcome,
                                 const Want& want, bool& found, bool* edge_gone = nullptr);
  // F3, M6: the edge is gone; what was verified here last, flagged, with its true bound.
  Receipt fall_back(const ReadOutcome& outcome, Nanos waited);
  void note_bound(std::string_view key, Nanos bound);
  void keep_up();

  const ClientOptions options_;
  LocalReader reader_;
  std::atomic<std::uint64_t> edge_reads_{0}, fallbacks_{0};

  std::mutex pool_mutex_;
  std::vector<RespClient> idle_;

  // F9: reads served from memory are invisible to the edge, so the tightest bound in use is told to it now and then.
  std::atomic<Nanos> tightest_{kForever};
  std::mutex demand_mutex_;
  std::string demand_key_;

  std::mutex stop_mutex_;
  std::condition_variable stop_changed_;
  bool stopping_ = false;
  std::thread keeper_;
};

}  // namespace tidelock
