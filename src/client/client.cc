#include <algorithm>
#include <charconv>
#include <chrono>
#include <utility>

#include "client/client_impl.h"
#include "codec/hash_value.h"
#include "codec/typed_value.h"

namespace tidelock {
namespace {

constexpr auto kMaintainEvery = std::chrono::milliseconds(50);
constexpr int kDemandEvery = 400;  // rounds of kMaintainEvery: 20 s
constexpr std::size_t kIdleMax = 16;
constexpr std::size_t kManyMax = 4'096;
constexpr std::size_t kTogetherMax = 1'024;  // keys of one question: others wait at the edge too
constexpr int kManyRounds = 3;
constexpr Nanos kDeadlineMargin = 200 * kMillisecond;

Basis basis_of(std::string_view name) {
  for (const Basis basis : {Basis::kLease, Basis::kProof, Basis::kEventual, Basis::kLocal}) {
    if (name == basis_name(basis)) return basis;
  }
  return Basis::kNone;
}

}  // namespace

Error error_of(const std::string& text) {
  Error error;
  error.message = text;
  const std::string word = text.substr(0, text.find(' '));
  if (word == "STALE") {
    error.code = Code::kStale;
    error.detail_ns = kForever;
    const std::size_t at = text.find("bound_us=");
    if (at != std::string::npos) {
      std::int64_t us = -1;
      const char* from = text.data() + at + std::string_view("bound_us=").size();
      std::from_chars(from, text.data() + text.size(), us);
      error.detail_ns = us < 0 || us > kForever / kMicrosecond ? kForever : us * kMicrosecond;
    }
  } else if (word == "BUSY") {
    error.code = Code::kBusy;
    error.detail_ns = 100 * kMillisecond;
  } else if (word == "UNAVAILABLE") {
    error.code = Code::kUnavailable;
  } else if (word == "MAYBEAPPLIED") {
    error.code = Code::kMaybeApplied;
  } else if (word == "NOPERM" || word == "NOAUTH" || word == "DENIED") {
    error.code = Code::kDenied;
  } else {
    error.code = Code::kInvalid;
  }
  return error;
}

tl::unexpected<Error> other_kind(std::string_view key, bool is_hash) {
  return fail(Code::kInvalid,
              "key '" + std::string(key) +
                  (is_hash ? "' holds a hash; read it with get_fields" : "' holds a string; read it with get"));
}

namespace {

bool is_edge_gone(const Error& error) {
  return error.code != Code::kInvalid && error.code != Code::kDenied && error.code != Code::kStale;
}

std::int64_t integer_of(const RespValue& reply, std::string_view field, std::int64_t missing) {
  const RespValue* value = reply.find(field);
  return value != nullptr && value->type == RespType::kInteger ? value->integer : missing;
}

constexpr std::pair<std::string_view, Eviction> kEvictions[] = {{"w-tinylfu", Eviction::kTinyLfu},
                                                                {"lru", Eviction::kLru},
                                                                {"s3-fifo", Eviction::kS3Fifo},
                                                                {"sieve", Eviction::kSieve}};
std::optional<Eviction> eviction_of(std::string_view name) {
  for (const auto& [known, eviction] : kEvictions) {
    if (known == name) return eviction;
  }
  return std::nullopt;
}

Result<void> validate(const ClientOptions& options) {
  if (options.run_dir.empty())
    return fail(Code::kInvalid, "run_dir is empty; it must be the edge's run folder (run_dir in edge.toml)");
  if (!eviction_of(options.l1_eviction)) {
    return fail(Code::kInvalid, "l1_eviction is '" + options.l1_eviction +
                                    "'; it must be \"w-tinylfu\", \"lru\", \"s3-fifo\" or \"sieve\"");
  }
  if (options.l1_value_bytes_max < 1 || options.l1_value_bytes_max > kValueBytesMax) {
    return fail(Code::kInvalid, "l1_value_bytes_max is " + std::to_string(options.l1_value_bytes_max) +
                                    "; it must be 1 to " + std::to_string(kValueBytesMax));
  }
  if (options.l1_budgets.size() > L1Cache::kPoolsMax) {
    return fail(Code::kInvalid, "l1_budgets has " + std::to_string(options.l1_budgets.size()) +
                                    " entries; it must have at most " + std::to_string(L1Cache::kPoolsMax));
  }
  std::size_t together = 0;
  for (const ClientOptions::L1Budget& budget : options.l1_budgets) {
    if (__builtin_add_overflow(together, budget.bytes, &together) || together > options.l1_bytes / 8 * 7) {
      return fail(Code::kInvalid, "l1_budgets are above " + std::to_string(options.l1_bytes / 8 * 7) +
                                      " bytes together with that of '" + budget.prefix +
                                      "'; they must be at most 7/8 of l1_bytes");
    }
  }
  return {};
}

LocalReaderOptions reader_options(const ClientOptions& options) {
  LocalReaderOptions reader;
  reader.page_path = options.run_dir + "/page";
  reader.arena_path = options.run_dir + "/arena";
  reader.l1.capacity_bytes = options.l1_bytes;
  reader.l1.eviction = eviction_of(options.l1_eviction).value_or(Eviction::kTinyLfu);
  reader.l1_value_bytes_max = options.l1_value_bytes_max;
  for (const ClientOptions::L1Budget& budget : options.l1_budgets) {
    reader.l1_budgets.push_back({budget.prefix, budget.bytes});
  }
  return reader;
}

}  // namespace

Result<std::unique_ptr<Client>> Client::connect(ClientOptions options) {
  if (const auto valid = validate(options); !valid) return fail(valid.error());
  auto client = std::make_unique<ClientImpl>(std::move(options));
  // Somebody must be there: the page, or at least the socket.
  auto pong = client->ask({"PING"});
  if (!pong) return fail(Code::kUnavailable, "no edge at " + client->run_dir() + ": " + pong.error().message);
  return std::unique_ptr<Client>(std::move(client));
}

ClientImpl::ClientImpl(ClientOptions options)
    : options_(std::move(options)), reader_(reader_options(options_)), keeper_([this] { keep_up(); }) {}

ClientImpl::~ClientImpl() {
  {
    const std::lock_guard lock(stop_mutex_);
    stopping_ = true;
  }
  stop_changed_.notify_all();
  keeper_.join();
}

template <class Call>
auto ClientImpl::on_connection(Nanos wait_ns, Call&& call) -> decltype(call(std::declval<RespClient&>(), wait_ns)) {
  const Nanos timeout_ns = std::min(wait_ns, options_.call_timeout_ms * kMillisecond);
  std::optional<RespClient> connection;
  {
    const std::lock_guard lock(pool_mutex_);
    if (!idle_.empty()) {
      connection.emplace(std::move(idle_.back()));
      idle_.pop_back();
    }
  }
  for (int attempt = 0;; ++attempt) {
    const bool reused = connection.has_value();
    if (!connection) {
      RespClientOptions options;
      options.address = "unix:" + options_.run_dir + "/redis.sock";
      options.connect_timeout_ns = std::min(wait_ns, options_.connect_timeout_ms * kMillisecond);
      options.protocol = 3;
      auto made = RespClient::connect(options);
      if (!made) return fail(made.error());
      connection.emplace(std::move(*made));
    }
    auto reply = call(*connection, timeout_ns);
    if (reply) {
      const std::lock_guard lock(pool_mutex_);
      if (idle_.size() < kIdleMax) idle_.push_back(std::move(*connection));
      return reply;
    }
    connection.reset();
    // A pooled connection may have died with a former edge: one new one, unless something may have been done.
    if (!reused || attempt > 0 || reply.error().code != Code::kUnavailable) return fail(reply.error());
  }
}

Result<RespValue> ClientImpl::ask(const std::vector<std::string>& command, Nanos wait_ns) {
  return on_connection(wait_ns, [&](RespClient& edge, Nanos timeout_ns) { return edge.call(command, timeout_ns); });
}
Result<std::vector<RespValue>> ClientImpl::ask_all(const std::vector<std::vector<std::string>>& commands) {
  return on_connection(kForever,
                       [&](RespClient& edge, Nanos timeout_ns) { return edge.pipeline(commands, timeout_ns); });
}

void ClientImpl::note_bound(std::string_view key, Nanos bound) {
  if (bound >= tightest_.load(std::memory_order_relaxed)) return;
  tightest_.store(bound, std::memory_order_relaxed);
  const std::lock_guard lock(demand_mutex_);
  demand_key_ = key;
}

// Of the value in `want.text`, as it came from memory.
Result<void> ClientImpl::take_stored(std::string_view key, const Want& want) {
  const bool is_hash = kind_of(want.text) == ValueKind::kHash;
  if (is_hash != (want.values != nullptr)) return other_kind(key, is_hash);
  if (!is_hash) {
    want.text.erase(0, want.text.size() - string_of(want.text).size());
    return {};
  }
  const auto values = hash_fields(want.text, want.names);
  if (!values) return fail(values.error().code, "key '" + std::string(key) + "': " + values.error().message);
  want.values->assign(values->begin(), values->end());
  return {};
}

Result<void> ClientImpl::take_answer(std::string_view key, const RespValue& value, const Want& want) {
  if (want.values == nullptr) {
    want.text = value.text;
    return {};
  }
  if (value.type != RespType::kArray || value.elements.size() != want.names.size()) {
    return fail(Code::kCorrupt, "the edge's answer to TL.GET of " + std::to_string(want.names.size()) +
                                    " fields of key '" + std::string(key) + "' has not as many values");
  }
  want.values->clear();
  for (const RespValue& element : value.elements) {
    want.values->push_back(element.is_null() ? std::nullopt : std::optional(element.text));
  }
  return {};
}

Result<Receipt> ClientImpl::read(std::string_view key, const Contract& contract, const Want& want, bool& found) {
  const ReadOutcome outcome = reader_.read(key, contract, want.text);
  if (contract.bound_ns) note_bound(key, *contract.bound_ns);
  if (outcome.must_ask == MustAsk::kNo) {
    found = outcome.found;
    if (found) {
      if (const auto taken = take_stored(key, want); !taken) return fail(taken.error());
    }
    return outcome.receipt;
  }
  return read_elsewhere(key, contract, outcome, want, found);
}

// What memory could not answer for; `want.text` holds what it has to fall back on, if `outcome` says so.
Result<Receipt> ClientImpl::read_elsewhere(std::string_view key, const Contract& contract, const ReadOutcome& outcome,
                                           const Want& want, bool& found, bool* edge_gone) {
  const ElapsedClock clock;  // only a difference is used
  const Nanos asked_at = clock.now();
  std::string held;
  if (outcome.found) held = want.text;
  auto asked = read_at_edge(key, contract, want, found);
  if (asked || !is_edge_gone(asked.error())) return asked;
  if (outcome.found) {
    if (edge_gone != nullptr) *edge_gone = true;
    want.text = std::move(held);
    found = true;
    if (const auto taken = take_stored(key, want); !taken) return fail(taken.error());
    return fall_back(outcome, saturating_sub(clock.now(), asked_at));
  }
  return asked;
}

Receipt ClientImpl::fall_back(const ReadOutcome& outcome, Nanos waited) {
  Receipt receipt = outcome.receipt;
  // F6: the value is as old as it was, and the wait for the edge comes on top.
  receipt.bound_ns = saturating_add(receipt.bound_ns, stretch(waited, 1'000));
  receipt.fallback = true;
  fallbacks_.fetch_add(1, std::memory_order_relaxed);
  return receipt;
}

Result<Receipt> ClientImpl::read_at_edge(std::string_view key, const Contract& contract, const Want& want,
                                         bool& found) {
  edge_reads_.fetch_add(1, std::memory_order_relaxed);
  std::vector<std::string> command = {"TL.GET", std::string(key)};
  put_contract(command, contract);
  if (want.values != nullptr) {
    command.emplace_back("FIELDS");
    command.insert(command.end(), want.names.begin(), want.names.end());
  }
  const ElapsedClock wall;  // only a difference is used: the time spent waiting for the answer (F6)
  const Nanos sent_at = wall.now();
  const auto reply = ask(command, patience(contract));
  if (!reply) return fail(reply.error());
  return take_read(key, *reply, saturating_sub(wall.now(), sent_at), want, found);
}

void ClientImpl::put_contract(std::vector<std::string>& command, const Contract& contract) {
  const Consistency asked =
      contract.consistency.value_or(contract.bound_ns ? Consistency::kBounded : Consistency::kEventual);
  if (contract.bound_ns && asked == Consistency::kBounded) {
    command.insert(command.end(), {"BOUND", std::to_string(*contract.bound_ns / kMillisecond)});
  } else if (contract.consistency == Consistency::kStrong) {
    command.emplace_back("STRONG");
  } else if (contract.consistency == Consistency::kEventual) {
    command.emplace_back("EVENTUAL");
  }
  if (contract.deadline_ns)
    command.insert(command.end(), {"DEADLINE", std::to_string(*contract.deadline_ns / kMillisecond)});
  if (contract.token.value != 0) command.insert(command.end(), {"TOKEN", std::to_string(contract.token.value)});
}

// F3: one deadline, held here too when the edge is frozen; the margin is for its answer to arrive.
Nanos ClientImpl::patience(const Contract& contract) {
  return contract.deadline_ns ? saturating_add(*contract.deadline_ns, kDeadlineMargin) : kForever;
}

Result<Receipt> ClientImpl::take_read(std::string_view key, const RespValue& reply, Nanos waited, const Want& want,
                                      bool& found) {
  if (reply.is_error() && reply.text.starts_with("WRONGTYPE ")) return other_kind(key, want.values == nullptr);
  if (reply.is_error()) return fail(error_of(reply.text));
  const RespValue* value = reply.find("value");
  if (value == nullptr) return fail(Code::kCorrupt, "the edge's answer to TL.GET has no value");
  Receipt receipt;
  receipt.version = Index{static_cast<std::uint64_t>(integer_of(reply, "version", 0))};
  const std::int64_t bound_us = integer_of(reply, "bound_us", -1);
  receipt.bound_ns = bound_us < 0 ? kForever : saturating_add((bound_us + 1) * kMicrosecond, stretch(waited, 1'000));
  const std::int64_t writers_ms = integer_of(reply, "writers_ms", -1);
  receipt.writers_ns = writers_ms < 0 ? kForever : writers_ms * kMillisecond;
  if (const RespValue* basis = reply.find("basis")) receipt.basis = basis_of(basis->text);
  if (const RespValue* source = reply.find("source"))
    receipt.source = source->text == "hub" ? Source::kHub : Source::kEdge;
  receipt.fallback = integer_of(reply, "fallback", 0) != 0;
  if (receipt.fallback) fallbacks_.fetch_add(1, std::memory_order_relaxed);
  found = !value->is_null();
  if (found) {
    if (const auto taken = take_answer(key, *value, want); !taken) return fail(taken.error());
  }
  return receipt;
}

Result<Receipt> ClientImpl::get_into(std::string_view key, const Contract& contract, std::string& out) {
  bool found = false;
  auto receipt = read(key, contract, Want{out}, found);
  if (!receipt) return receipt;
  if (!found) return fail(Code::kNotFound, "no key '" + std::string(key) + "'");
  return receipt;
}

Result<Value> ClientImpl::get(std::string_view key, const Contract& contract, Receipt* receipt_of_absence) {
  Value value;
  bool found = false;
  const auto receipt = read(key, contract, Want{value.bytes}, found);
  if (!receipt) return fail(receipt.error());
  value.receipt = *receipt;
  if (found) return value;
  if (receipt_of_absence != nullptr) *receipt_of_absence = *receipt;
  return fail(Code::kNotFound, "no key '" + std::string(key) + "'");
}

Result<Fields> ClientImpl::get_fields(std::string_view key, std::span<const std::string_view> fields,
                                      const Contract& contract, Receipt* receipt_of_absence) {
  if (fields.empty()) return fail(Code::kInvalid, "fields is empty; it must name at least one field");
  Fields result;
  std::string stored;
  bool found = false;
  const auto receipt = read(key, contract, Want{stored, fields, &result.values}, found);
  if (!receipt) return fail(receipt.error());
  result.receipt = *receipt;
  if (found) return result;
  if (receipt_of_absence != nullptr) *receipt_of_absence = *receipt;
  return fail(Code::kNotFound, "no key '" + std::string(key) + "'");
}

Result<Receipt> ClientImpl::get_ref(std::string_view key, const Contract& contract, ValueRef& out) {
  const ReadOutcome outcome = reader_.read(key, contract, out);
  if (contract.bound_ns) note_bound(key, *contract.bound_ns);
  bool found = outcome.found;
  Receipt receipt = outcome.receipt;
  if (outcome.must_ask != MustAsk::kNo) {
    std::string copy(out.bytes());
    auto elsewhere = read_elsewhere(key, contract, outcome, Want{copy}, found);
    if (!elsewhere) return elsewhere;
    receipt = *elsewhere;
    out.own() = std::move(copy);
  } else if (found && out.bytes().starts_with(kTypedValueMark)) {  // a hash, or a string that begins like one
    std::string copy(out.bytes());
    if (const auto taken = take_stored(key, Want{copy}); !taken) return fail(taken.error());
    out.own() = std::move(copy);
  }
  if (!found) return fail(Code::kNotFound, "no key '" + std::string(key) + "'");
  return receipt;
}

// One question for all that must be asked for: over a bad link a round trip, not one for each (F8). Answers in the
// order of those, of the first kTogetherMax from `from`; nothing where the edge has them only one by one: too much at
// once, another build. An error: the edge is gone.
Result<std::vector<RespValue>> ClientImpl::ask_together(std::span<const std::string_view> keys, std::size_t from,
                                                        const std::vector<ReadOutcome>& outcomes,
                                                        const Contract& contract, Nanos& waited) {
  std::vector<std::string> command = {"TL.MGET"};
  put_contract(command, contract);
  command.emplace_back("KEYS");
  const std::size_t options = command.size();
  for (std::size_t i = from; i < keys.size() && command.size() - options < kTogetherMax; ++i) {
    if (outcomes[i].must_ask != MustAsk::kNo) command.emplace_back(keys[i]);
  }
  const std::size_t count = command.size() - options;
  if (count < 2) return std::vector<RespValue>{};
  const ElapsedClock wall;  // only a difference is used
  const Nanos sent_at = wall.now();
  auto reply = ask(command, patience(contract));
  waited = saturating_sub(wall.now(), sent_at);
  if (!reply) return fail(reply.error());
  if (reply->is_error() && is_edge_gone(error_of(reply->text))) return fail(error_of(reply->text));
  if (reply->type != RespType::kArray || reply->elements.size() != count) return std::vector<RespValue>{};
  edge_reads_.fetch_add(count, std::memory_order_relaxed);
  return std::move(reply->elements);
}

Result<Receipt> ClientImpl::read_in_place(std::string_view key, const Contract& contract, InPlaceVisitor look) {
  bool is_hash = false;
  const auto look_at_stored = [&](std::string_view stored) {
    is_hash = kind_of(stored) == ValueKind::kHash;
    if (!is_hash) look(string_of(stored));
  };
  const ReadOutcome outcome = reader_.read_in_place(key, contract, look_at_stored);
  if (contract.bound_ns) note_bound(key, *contract.bound_ns);
  bool found = outcome.found;
  Receipt receipt = outcome.receipt;
  if (outcome.must_ask != MustAsk::kNo) {
    const ElapsedClock clock;  // only a difference is used
    const Nanos asked_at = clock.now();
    std::string answer;
    const auto asked = read_at_edge(key, contract, Want{answer}, found);
    if (asked) {
      receipt = *asked;
      is_hash = false;
      const Nanos looked_at = clock.now();
      if (found) look(answer);
      // F6: of what the edge answered, too, U counts to the end of the read.
      receipt.bound_ns = saturating_add(receipt.bound_ns, stretch(saturating_sub(clock.now(), looked_at), 1'000));
    } else if (is_edge_gone(asked.error()) && outcome.found) {  // what the last run made of it still stands
      found = true;
      receipt = fall_back(outcome, saturating_sub(clock.now(), asked_at));
    } else {
      return asked;
    }
  }
  if (!found) return fail(Code::kNotFound, "no key '" + std::string(key) + "'");
  if (is_hash) return other_kind(key, true);
  return receipt;
}

Result<void> ClientImpl::get_many(std::span<const std::string_view> keys, const Contract& contract, ValueBatch& out) {
  if (keys.empty() || keys.size() > kManyMax)
    return fail(Code::kInvalid, std::to_string(keys.size()) + " keys; 1 to " + std::to_string(kManyMax) + " are right");
  if (contract.bound_ns) note_bound(keys.front(), *contract.bound_ns);
  thread_local std::vector<ReadOutcome> outcomes;
  const ElapsedClock clock;  // only differences are used
  const Nanos began_at = clock.now();
  bool edge_gone = false;
  for (int round = 1;; ++round) {
    out.found.assign(keys.size(), false);
    const Nanos read_at = clock.now();
    const ReadOutcome all = reader_.read_many(keys, contract, out.values, outcomes);
    out.receipt = all.receipt;
    if (all.must_ask == MustAsk::kNo) {
      for (std::size_t i = 0; i < keys.size(); ++i) {
        out.found[i] = outcomes[i].found;
        if (!outcomes[i].found) {
          out.values[i].clear();
        } else if (const auto taken = take_stored(keys[i], Want{out.values[i]}); !taken) {
          return fail(taken.error());
        }
      }
      return {};
    }
    // The edge is asked for some, and what it answers lies in the arena then. F6: all that was read before it ages
    // meanwhile, what is there to fall back on as well.
    const auto age = [&](Receipt& receipt, Nanos since) {
      receipt.bound_ns = saturating_add(receipt.bound_ns, stretch(saturating_sub(clock.now(), since), 1'000));
    };
    thread_local std::vector<Nanos> had_at;
    had_at.assign(keys.size(), read_at);
    const auto left_of = [&](Contract left) {
      if (left.deadline_ns)
        left.deadline_ns = std::max<Nanos>(0, *left.deadline_ns - saturating_sub(clock.now(), began_at));
      return left;
    };
    Nanos waited = 0;
    Nanos answered_at = 0;
    std::size_t next = 0;
    const auto ask_from = [&](std::size_t from) {
      auto answers = ask_together(keys, from, outcomes, left_of(contract), waited);
      answered_at = clock.now();
      edge_gone = edge_gone || !answers;
      next = 0;
      return answers;
    };
    auto together = ask_from(0);
    for (std::size_t i = 0; i < keys.size(); ++i) {
      bool found = outcomes[i].found;
      const auto fall_back = [&]() -> Result<void> {  // F3: the edge did not answer, and this was verified here
        age(outcomes[i].receipt, read_at);
        had_at[i] = clock.now();
        outcomes[i].receipt.fallback = true;
        fallbacks_.fetch_add(1, std::memory_order_relaxed);
        return take_stored(keys[i], Want{out.values[i]});
      };
      if (outcomes[i].must_ask != MustAsk::kNo && together && next == kTogetherMax) together = ask_from(i);
      if (outcomes[i].must_ask != MustAsk::kNo && together && next < together->size()) {
        const RespValue& reply = (*together)[next++];
        had_at[i] = answered_at;
        if (found && reply.is_error() && is_edge_gone(error_of(reply.text))) {
          if (const auto old = fall_back(); !old) return fail(old.error());
        } else {
          const auto receipt = take_read(keys[i], reply, waited, Want{out.values[i]}, found);
          if (!receipt) return fail(receipt.error());
          outcomes[i].receipt = *receipt;
        }
        outcomes[i].must_ask = MustAsk::kNo;
      } else if (outcomes[i].must_ask != MustAsk::kNo) {
        if (!together && !found) return fail(together.error());
        if (edge_gone && found) {  // one deadline for all of them
          if (const auto old = fall_back(); !old) return fail(old.error());
        } else {
          age(outcomes[i].receipt, read_at);
          had_at[i] = clock.now();  // the wait is counted once more: towards older
          const auto receipt =
              read_elsewhere(keys[i], left_of(contract), outcomes[i], Want{out.values[i]}, found, &edge_gone);
          if (!receipt) return fail(receipt.error());
          outcomes[i].receipt = *receipt;
        }
        outcomes[i].must_ask = MustAsk::kNo;
      } else if (found) {
        if (const auto taken = take_stored(keys[i], Want{out.values[i]}); !taken) return fail(taken.error());
      }
      out.found[i] = found;
      if (!found) out.values[i].clear();
    }
    for (std::size_t i = 0; i < keys.size(); ++i) age(outcomes[i].receipt, had_at[i]);
    out.receipt = outcome_of_all(outcomes).receipt;
    if (out.receipt.bound_ns <= reader_.bound_asked(keys, contract) || out.receipt.fallback) return {};
    if (round < kManyRounds) continue;  // each was fresh enough when it came, and the first has aged since
    Error error;
    error.code = Code::kStale;
    error.message = "the keys of this batch cannot be had within one bound";
    error.detail_ns = out.receipt.bound_ns;
    return fail(std::move(error));
  }
}

Result<Written> ClientImpl::set(std::string_view key, std::string_view value, const SetOptions& options) {
  std::vector<std::string> command = {"TL.SET", std::string(key), std::string(value)};
  if (options.ttl_ms > 0) command.insert(command.end(), {"PX", std::to_string(options.ttl_ms)});
  if (!options.ack.empty()) command.insert(command.end(), {"ACK", options.ack});
  const auto reply = ask(command);
  if (!reply) return fail(reply.error());
  if (reply->is_error()) return fail(error_of(reply->text));
  Written written;
  written.version = Index{static_cast<std::uint64_t>(integer_of(*reply, "version", 0))};
  if (const RespValue* ack = reply->find("ack")) written.ack = ack->text;
  return written;
}

Result<bool> ClientImpl::erase(std::string_view key) {
  const auto reply = ask({"DEL", std::string(key)});
  if (!reply) return fail(reply.error());
  if (reply->is_error()) return fail(error_of(reply->text));
  return reply->integer > 0;
}

ClientStats ClientImpl::stats() const {
  const LocalReaderCounters counters = reader_.counters();
  ClientStats stats;
  stats.reads = counters.reads;
  stats.l1_hits = counters.hits_l1;
  stats.arena_hits = counters.hits_arena;
  stats.l1_entries = counters.l1_entries;
  stats.l1_fills = counters.l1.puts;
  stats.l1_evictions = counters.l1.evictions;
  stats.l1_refused = counters.l1.refused;
  stats.edge_reads = edge_reads_.load(std::memory_order_relaxed);
  stats.fallbacks = fallbacks_.load(std::memory_order_relaxed);
  return stats;
}

// Follows a restarted edge to its new page, and tells the edge which bound its apps rely on (F9).
void ClientImpl::keep_up() {
  for (int round = 1;; ++round) {
    {
      std::unique_lock lock(stop_mutex_);
      if (stop_changed_.wait_for(lock, kMaintainEvery, [this] { return stopping_; })) return;
    }
    reader_.maintain();
    if (round % kDemandEvery != 0) continue;
    const Nanos bound = tightest_.exchange(kForever, std::memory_order_relaxed);
    if (bound == kForever) continue;
    std::string key;
    {
      const std::lock_guard lock(demand_mutex_);
      key = demand_key_;
    }
    (void)ask({"TL.GET", key, "BOUND", std::to_string(bound / kMillisecond), "DEADLINE", "0"});
  }
}

}  // namespace tidelock
