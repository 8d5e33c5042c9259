// Two places can be asked. An edge answers as it answers apps: from its memory, under a contract, with a receipt. The
// hubs answer linearizably, and their receipt is the index at which the active one read with authority (A3).

#include "cli/get_set.h"

#include <CLI/CLI.hpp>
#include <algorithm>
#include <cstdint>
#include <filesystem>
#include <iostream>
#include <memory>
#include <optional>

#include "base/bytes.h"
#include "base/elapsed_clock.h"
#include "base/wall_clock.h"
#include "cli/config.h"
#include "cli/words.h"
#include "codec/archive.h"
#include "codec/typed_value.h"
#include "protocol/policy.h"

namespace tidelock {
namespace {

constexpr int kHashTries = 4;
constexpr std::int64_t kMsMax = std::int64_t{1} << 40;

Result<std::int64_t> integer_of(const RespValue& reply, std::string_view field) {
  const RespValue* value = reply.find(field);
  if (value == nullptr || value->type != RespType::kInteger) {
    return fail(Code::kCorrupt, "the edge's answer has no integer '" + std::string(field) +
                                    "'; is this socket an edge's, and of this version?");
  }
  return value->integer;
}
std::string text_of(const RespValue& reply, std::string_view field) {
  const RespValue* value = reply.find(field);
  return value != nullptr && value->is_text() ? value->text : std::string();
}
// -1, or beyond what a duration holds: unbounded.
Nanos duration_of(std::int64_t count, Nanos unit) {
  return count < 0 || count > kForever / unit ? kForever : count * unit;
}

std::string basis_words(const EdgeReceipt& receipt, bool found) {
  if (receipt.basis == "lease") return "proven by a lease: no newer write had been acknowledged anywhere";
  if (receipt.basis == "proof" && receipt.source == "hub")
    return "proven by the hub, which answered under its authority";
  if (receipt.basis == "proof") return "proven by an answered probe of the hub";
  if (receipt.basis == "eventual") return "served without a test (eventual); the age is what happens to be provable";
  if (receipt.basis == "local" && found) return "written on this gateway, and not sequenced by a hub";
  if (receipt.basis == "local") return "this gateway alone decides about the key";
  return "nothing proves its age";
}

void put_bytes(Json& json, const std::string& name, const std::string& bytes) {
  try {
    static_cast<void>(Json(bytes).dump());
    json[name] = bytes;
  } catch (const Json::exception&) {  // not UTF-8
    json[name] = nullptr;
    json[name + "_hex"] = to_hex(bytes);
  }
}

struct GetOptions {
  std::string key;
  EdgePlace place;
  std::int64_t bound_ms = -1, deadline_ms = -1;
  bool strong = false, eventual = false, raw = false;
};
struct SetOptionsOfLine {
  std::string key, value, file, ack;
  bool has_value = false;
  EdgePlace place;
  std::int64_t ttl_ms = 0;
};

constexpr const char* kWhere = "give --run-dir of an edge on this machine, or --config client.toml to ask the hubs";

int write_raw(const std::string& bytes) {
  std::cout.write(bytes.data(), static_cast<std::streamsize>(bytes.size()));
  std::cout.flush();
  return std::cout ? 0 : 1;
}

std::string next_step_of(const Error& error, const EdgePlace& place) {
  switch (error.code) {
    case Code::kStale:
      return "ask for less (a larger --bound, or --eventual), or see what holds the proof up: tidelock doctor" +
             (place.run_dir.empty() ? std::string() : " --run-dir " + place.run_dir);
    case Code::kUnavailable: return "is the edge running? its run folder holds redis.sock while it does";
    case Code::kDenied: return "the edge asks for a password: --password-file FILE";
    case Code::kMaybeApplied: return "it cannot be told whether this was done: read the key before repeating";
    case Code::kBusy: return "repeat in a moment";
    default: return {};
  }
}

int get_at_edge(const Common& common, const GetOptions& options) {
  auto edge = connect_edge(options.place, common.timeout_ms);
  if (!edge) return report(common, edge.error(), next_step_of(edge.error(), options.place));
  std::vector<std::string> words;
  if (options.strong) words = {"STRONG"};
  if (options.eventual) words = {"EVENTUAL"};
  if (options.bound_ms >= 0) words = {"BOUND", std::to_string(options.bound_ms)};
  if (options.deadline_ms >= 0) words.insert(words.end(), {"DEADLINE", std::to_string(options.deadline_ms)});
  const auto read = read_at_edge(*edge, options.key, words, common.timeout_ms);
  if (!read) return report(common, read.error(), next_step_of(read.error(), options.place));

  Json json{{"at", options.place.address()}};
  put_bytes(json, "key", options.key);
  if (read->has_receipt) json["receipt"] = receipt_json(read->receipt);
  if (!read->found) {
    Error absent{Code::kNotFound, "no key '" + shown_text(options.key) + "'", {}, 0};
    if (!common.json) return report(common, absent, receipt_words(read->receipt, false).substr(2));
    json["ok"] = false;
    json["code"] = code_name(absent.code);
    json["message"] = absent.message;
    std::cout << json.dump(-1, ' ', false, Json::error_handler_t::replace) << std::endl;
    return 1;
  }
  std::string text;
  if (read->hash) {
    json["type"] = "hash";
    json["fields"] = Json::array();
    for (const auto& [field, value] : read->fields) {
      Json one;
      put_bytes(one, "field", field);
      put_bytes(one, "value", value);
      json["fields"].push_back(std::move(one));
      text += (text.empty() ? "" : "\n") + shown_text(field) + " = " + shown_text(value);
    }
  } else {
    if (options.raw && !common.json) return write_raw(read->value);
    json["type"] = "string";
    put_bytes(json, "value", read->value);
    text = shown_text(read->value);
    if (!is_plain_text(read->value)) {
      text += "\n  " + std::to_string(read->value.size()) + " bytes that are no text: shown escaped, --raw prints them";
    }
  }
  text += "\n" + (read->has_receipt ? receipt_words(read->receipt, true)
                                    : std::string("  this edge gives no receipt for a hash"));
  return done(common, json, text);
}

int get_at_hubs(const Common& common, const GetOptions& options) {
  auto cluster = connect(common);
  if (!cluster) return report(common, cluster.error(), common.config.empty() ? kWhere : "");
  const std::int64_t began = monotonic_ns_now();
  const auto answer = (*cluster)->ask(ReadKey{options.key});
  const std::int64_t ended = monotonic_ns_now();
  if (!answer)
    return report(common, answer.error(), "is a majority of the hubs up? try `tidelock --config FILE status`");
  if (answer->code != Code::kOk) return report(common, Error{answer->code, answer->message, {}, 0});
  const std::string value = answer->value.value_or("");
  const bool found = answer->value.has_value();
  const bool hash = found && kind_of(value) == ValueKind::kHash;
  const std::string shown = hash || !found ? value : std::string(string_of(value));
  Json json{{"index", answer->index.value},
            {"hub", answer->hub},
            {"term", answer->term.value},
            {"begin_ns", began},
            {"end_ns", ended},
            {"elapsed_ms", static_cast<double>(ended - began) / 1e6},
            {"found", found},
            {"type", !found ? "none"
                     : hash ? "hash"
                            : "string"}};
  put_bytes(json, "key", options.key);
  put_bytes(json, "value", shown);
  if (options.raw && !common.json) return write_raw(shown);
  // A3: what was acknowledged before the question is in the answer, so its age is the wait for the answer.
  const Nanos bound = stretch(ended - began, 1'000);
  json["bound_us"] = bound / kMicrosecond + 1;
  std::string text =
      found ? hash ? "a hash; --run-dir of an edge shows its fields" : shown_text(shown) : "(no such key)";
  text += "\n  as of index " + std::to_string(answer->index.value) + ", at most " + duration_words(bound) +
          " old\n  read at " + answer->hub + " under its authority, term " + std::to_string(answer->term.value);
  return done(common, json, text);
}

Result<void> fill_value(SetOptionsOfLine& options) {
  if (options.has_value == !options.file.empty()) {
    return fail(Code::kInvalid, options.has_value ? "a value and --file were given; one of them is the value"
                                                  : "no value; write it after the key, or give --file FILE");
  }
  if (!options.file.empty()) {
    std::error_code error;
    const auto size = std::filesystem::file_size(options.file, error);
    if (!error && size > kValueBytesMax) {
      return fail(Code::kInvalid, "--file " + options.file + " has " + std::to_string(size) +
                                      " bytes; a value has at most " + std::to_string(kValueBytesMax));
    }
    auto bytes = read_file(options.file);
    if (!bytes) return fail(Code::kInvalid, "--file " + bytes.error().message);
    options.value = std::move(*bytes);
  }
  return validate_value(options.value);
}

int set_at_edge(const Common& common, const SetOptionsOfLine& options) {
  auto edge = connect_edge(options.place, common.timeout_ms);
  if (!edge) return report(common, edge.error(), next_step_of(edge.error(), options.place));
  std::vector<std::string> command = {"TL.SET", options.key, options.value};
  if (options.ttl_ms > 0) command.insert(command.end(), {"PX", std::to_string(options.ttl_ms)});
  if (!options.ack.empty()) command.insert(command.end(), {"ACK", options.ack});
  const auto reply = edge->call(command, common.timeout_ms * kMillisecond);
  if (!reply) return report(common, reply.error(), next_step_of(reply.error(), options.place));
  if (reply->is_error()) {
    const Error error = error_of_reply(reply->text);
    return report(common, error, next_step_of(error, options.place));
  }
  const auto version = integer_of(*reply, "version");
  if (!version) return report(common, version.error());
  const std::string ack = text_of(*reply, "ack");
  Json json{{"at", options.place.address()}, {"version", *version}, {"ack", ack}};
  put_bytes(json, "key", options.key);
  return done(common, std::move(json),
              std::string("written") +
                  (*version > 0      ? ", version " + std::to_string(*version)
                   : ack == "origin" ? std::string()
                                     : std::string(", not sequenced yet")) +
                  "\n  acknowledged: " + ack_words(ack));
}

int set_at_hubs(const Common& common, const SetOptionsOfLine& options) {
  if (!options.ack.empty() && options.ack != "origin") {
    return report(common, Error{Code::kInvalid, "--ack " + options.ack + " is a level of an edge's outbox", {}, 0},
                  "the hubs always acknowledge with `origin`; for less give --run-dir of an edge");
  }
  auto cluster = connect(common);
  if (!cluster) return report(common, cluster.error(), common.config.empty() ? kWhere : "");
  const std::int64_t began = monotonic_ns_now();
  const auto answer = (*cluster)->ask(WriteKeys{{KeyWrite{
      options.key, stored_string(options.value), options.ttl_ms * kMillisecond, false, Condition::kNone, {}}}});
  const std::int64_t ended = monotonic_ns_now();
  if (!answer)
    return report(common, answer.error(), "is a majority of the hubs up? try `tidelock --config FILE status`");
  if (answer->code != Code::kOk) return report(common, Error{answer->code, answer->message, {}, 0});
  return done(common,
              {{"index", answer->index.value},
               {"hub", answer->hub},
               {"term", answer->term.value},
               {"begin_ns", began},
               {"end_ns", ended},
               {"elapsed_ms", static_cast<double>(ended - began) / 1e6}},
              "written at index " + std::to_string(answer->index.value));
}

}  // namespace

Result<EdgeReceipt> receipt_of(const RespValue& reply, Nanos waited) {
  EdgeReceipt receipt;
  const auto version = integer_of(reply, "version");
  const auto bound_us = integer_of(reply, "bound_us");
  const auto fallback = integer_of(reply, "fallback");
  const auto writers_ms = integer_of(reply, "writers_ms");
  const auto ttl_ms = integer_of(reply, "ttl_ms");
  for (const auto* one : {&version, &bound_us, &fallback, &writers_ms, &ttl_ms}) {
    if (!*one) return fail(one->error());
  }
  receipt.version = static_cast<std::uint64_t>(std::max<std::int64_t>(*version, 0));
  // F6: this is another process; the age grows while its answer travels.
  receipt.bound_ns = saturating_add(duration_of(*bound_us, kMicrosecond), stretch(waited, 1'000));
  receipt.writers_ns = duration_of(*writers_ms, kMillisecond);
  receipt.ttl_ns = duration_of(*ttl_ms, kMillisecond);
  receipt.fallback = *fallback != 0;
  receipt.basis = text_of(reply, "basis");
  receipt.source = text_of(reply, "source");
  receipt.message = text_of(reply, "message");
  return receipt;
}

std::string receipt_words(const EdgeReceipt& receipt, bool found) {
  std::string text;
  const auto line = [&](const std::string& words) { text += (text.empty() ? "  " : "\n  ") + words; };
  const std::string version =
      receipt.version > 0 ? "version " + std::to_string(receipt.version) : std::string("not sequenced");
  const bool of_here = receipt.basis == "local";  // the newest there is: no hub knows of another
  if (receipt.bound_ns == kForever)
    line(of_here ? (found ? version : "absent")
                 : (found ? version + ", of unknown age" : "absent, as of an unknown time"));
  else if (found)
    line(version + ", at most " + duration_words(receipt.bound_ns) + " old");
  else
    line("absent, as of at most " + duration_words(receipt.bound_ns) + " ago");
  line(basis_words(receipt, found));
  line(receipt.source == "hub" ? "from the hub, asked for this read" : "from the edge's memory");
  if (receipt.fallback) line("FLAGGED: the contract could not be met; this is the last value that was verified");
  if (receipt.writers_ns == kForever)
    line("a gateway that writes here is away: what it holds back is not bounded");
  else if (receipt.writers_ns > 0)
    line("gateways that write here may hold back up to " + duration_words(receipt.writers_ns) + " more");
  if (found && receipt.ttl_ns != kForever) line("expires in " + duration_words(receipt.ttl_ns, Rounding::kDown));
  if (!receipt.message.empty()) line(shown_text(receipt.message));
  return text;
}

Json receipt_json(const EdgeReceipt& receipt) {
  const auto count = [](Nanos duration, Nanos unit) -> std::int64_t {
    return duration == kForever ? -1 : duration / unit + (duration % unit != 0);
  };
  return {{"version", receipt.version},
          {"bound_us", count(receipt.bound_ns, kMicrosecond)},
          {"writers_ms", count(receipt.writers_ns, kMillisecond)},
          {"basis", receipt.basis},
          {"source", receipt.source},
          {"fallback", receipt.fallback},
          {"ttl_ms", receipt.ttl_ns == kForever ? -1 : receipt.ttl_ns / kMillisecond},
          {"message", receipt.message}};
}

Result<KeyAnswer> read_at_edge(RespClient& edge, const std::string& key, const std::vector<std::string>& options,
                               int timeout_ms) {
  std::vector<std::string> question = {"TL.GET", key};
  question.insert(question.end(), options.begin(), options.end());
  const Nanos timeout = timeout_ms * kMillisecond;
  const ElapsedClock clock;
  std::optional<std::uint64_t> fields_of;  // the version that was current before the fields were asked for
  KeyAnswer read;
  for (int attempt = 0; attempt < kHashTries; ++attempt) {
    const Nanos asked_at = clock.now();
    const auto reply = edge.call(question, timeout);
    if (!reply) return fail(reply.error());
    const bool wrong_type = reply->is_error() && reply->text.starts_with("WRONGTYPE");
    if (reply->is_error() && !wrong_type) return fail(error_of_reply(reply->text));
    if (!wrong_type) {
      const RespValue* value = reply->find("value");
      const auto receipt = receipt_of(*reply, saturating_sub(clock.now(), asked_at));
      if (!receipt) return fail(receipt.error());
      if (value == nullptr) return fail(Code::kCorrupt, "the edge's answer to TL.GET has no value");
      read.receipt = *receipt;
      read.found = !value->is_null();
      read.value = value->text;
      if (!read.found || kind_of(value->text) != ValueKind::kHash) {
        read.hash = false;
        read.fields.clear();
        return read;
      }
      // The fields were read between two receipts of one version: they are what both speak of.
      if (read.hash && fields_of == receipt->version) return read;
      fields_of = receipt->version;
    }
    const auto all = edge.call({"HGETALL", key}, timeout);
    if (!all) return fail(all.error());
    if (all->is_error() && !wrong_type && all->text.starts_with("WRONGTYPE")) return read;  // it only looks like a hash
    if (all->is_error()) return fail(error_of_reply(all->text));
    if (!all->is_list() || all->elements.size() % 2 != 0)
      return fail(Code::kCorrupt, "the edge's answer to HGETALL is not a map");
    read.found = read.hash = true;
    read.value.clear();
    read.fields.clear();
    for (std::size_t i = 0; i < all->elements.size(); i += 2) {
      read.fields.emplace_back(all->elements[i].text, all->elements[i + 1].text);
    }
    if (wrong_type) {
      read.has_receipt = false;
      return read;
    }
  }
  return fail(Code::kBusy,
              "the hash '" + shown_text(key) + "' changed while it was read, " + std::to_string(kHashTries) + " times");
}

std::string ack_words(const std::string& level) {
  if (level == "os") return "os: this gateway's memory holds it; a crash of the machine before the next sync loses it";
  if (level == "disk") return "disk: it is synced to this gateway's disk, and goes to the hubs from there";
  if (level == "origin") return "origin: the hubs have it, on the disks of a majority";
  return level.empty() ? "the edge does not say how" : shown_text(level);
}

void add_get_and_set(CLI::App& app, const Common& common, int& exit_code) {
  const auto get_options = std::make_shared<GetOptions>();
  auto* get = app.add_subcommand("get", "read a key with its receipt: at an edge, or at the hubs (linearizable)");
  get->footer(
      "With --run-dir the edge answers as it answers apps, and below the value stands what is known of it: version, "
      "at\n"
      "most how old, proven by what, from where. Without a contract the key's namespace decides.\n"
      "example: tidelock get feature:track:17 --bound 500 --run-dir first/edge-1/run\n"
      "example: tidelock --config client.toml get feature:track:17");
  get->add_option("key", get_options->key)->required();
  auto* bound = get->add_option("--bound", get_options->bound_ms, "edge: no older than so many milliseconds")
                    ->check(CLI::Range(std::int64_t{0}, kMsMax));
  auto* strong = get->add_flag("--strong", get_options->strong, "edge: no newer write was acknowledged anywhere");
  get->add_flag("--eventual", get_options->eventual, "edge: what it has, at once")->excludes(bound)->excludes(strong);
  strong->excludes(bound);
  get->add_option("--deadline", get_options->deadline_ms, "edge: milliseconds to try; 0 = answer at once")
      ->check(CLI::Range(std::int64_t{0}, kMsMax));
  get->add_flag("--raw", get_options->raw, "print only the bytes of the value");
  add_edge_place(*get, get_options->place);
  get->callback([get_options, &common, &exit_code] {
    const GetOptions& o = *get_options;
    if (const auto ok = validate_key(o.key); !ok)
      exit_code = report(common, ok.error());
    else
      exit_code = o.place.given() ? get_at_edge(common, o) : get_at_hubs(common, o);
  });

  const auto set_options = std::make_shared<SetOptionsOfLine>();
  auto* set = app.add_subcommand("set", "write a key: at an edge, or at the hubs (write-through namespaces)");
  set->footer(
      "os: this gateway's memory; disk: synced to its disk; origin: on the disks of a majority of the hubs.\n"
      "example: tidelock set feature:track:17 hello --ttl 30000 --ack disk --run-dir first/edge-1/run\n"
      "example: tidelock set feature:embedding:17 --file vector.bin --run-dir first/edge-1/run\n"
      "example: tidelock --config client.toml set limits:speed 80");
  set->add_option("key", set_options->key)->required();
  auto* value = set->add_option("value", set_options->value, "or --file");
  set->add_option("--ttl,--ttl-ms", set_options->ttl_ms,
                  "time to live in milliseconds; 0 = the namespace's own, at the hubs none")
      ->check(CLI::Range(std::int64_t{0}, kMsMax));
  set->add_option("--ack", set_options->ack, "wait for this level; the namespace's own without it")
      ->check(CLI::IsMember({"os", "disk", "origin"}));
  set->add_option("--file", set_options->file, "the value is what this file holds");
  add_edge_place(*set, set_options->place);
  set->callback([set_options, value, &common, &exit_code] {
    SetOptionsOfLine& o = *set_options;
    o.has_value = value->count() > 0;
    if (const auto ok = validate_key(o.key); !ok)
      exit_code = report(common, ok.error());
    else if (const auto filled = fill_value(o); !filled)
      exit_code = report(common, filled.error());
    else
      exit_code = o.place.given() ? set_at_edge(common, o) : set_at_hubs(common, o);
  });
}

}  // namespace tidelock
