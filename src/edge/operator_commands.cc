// What an operator asks an edge: MEMORY, CONFIG REWRITE, SHUTDOWN.
#include <malloc.h>

#include <utility>

#include "edge/commands.h"
#include "edge/tl_reply.h"
#include "wire/resp/numbers.h"

namespace tidelock {
namespace {

std::string percent(std::size_t part, std::size_t whole) {
  return std::to_string(whole == 0 ? 0 : part * 100 / whole) + " %";
}

}  // namespace

// In memory with what the entry costs beside its bytes; of a key that is only in L2, the bytes of its row. SAMPLES
// changes nothing: every value is one piece.
void EdgeCommands::memory_usage(const Asked& asked, std::string_view key) {
  const Nanos now = core_.clock().now();
  const auto held = core_.arena().peek(key);
  std::size_t bytes = held && held->value && held->expires_at > now ? core_.arena().bytes_of(key) : 0;
  if (!held) {
    const auto row = l2_.find(key);
    if (row && row->value && row->expires_at > now) bytes = key.size() + row->value->size();
  }
  answer(asked, [&](RespReply& reply) { bytes == 0 ? reply.null() : reply.integer(static_cast<std::int64_t>(bytes)); });
}

void EdgeCommands::memory_stats(const Asked& asked) {
  const auto whole = [](std::size_t number) { return static_cast<std::int64_t>(number); };
  const std::size_t keys = core_.arena().entries(), arena = core_.arena().live_bytes(),
                    buffers = server_->stats().buffers_bytes;
  const std::pair<std::string_view, std::int64_t> rows[] = {
      {"total.allocated", whole(arena + buffers)},
      {"clients.normal", whole(buffers)},
      {"overhead.total", whole(buffers)},
      {"keys.count", whole(keys)},
      {"keys.bytes-per-key", whole(keys == 0 ? 0 : arena / keys)},
      {"dataset.bytes", whole(arena)},
      {"tidelock.arena.bytes", whole(arena)},
      {"tidelock.arena.entries", whole(keys)},
      {"tidelock.arena.limit", whole(config_.arena_bytes)},
      {"tidelock.arena.evictions", static_cast<std::int64_t>(core_.arena().evictions())}};
  answer(asked, [&](RespReply& reply) {
    reply.map(std::size(rows));
    for (const auto& [name, number] : rows) {
      reply.bulk(name);
      reply.integer(number);
    }
  });
}

void EdgeCommands::memory_doctor(const Asked& asked) {
  std::string text = std::to_string(core_.arena().entries()) + " entries take " +
                     percent(core_.arena().live_bytes(), config_.arena_bytes) + " of the memory tier. ";
  if (core_.arena().evictions() > 0) {
    text += std::to_string(core_.arena().evictions()) +
            " entries left it for want of room: they are in L2, and come back at a read; apps ask the edge for them. "
            "Raise memory.arena_mib if reads wait for that. ";
  }
  text += "Buffers of connections take " + std::to_string(server_->stats().buffers_bytes) +
          " bytes. The limits hold whatever clients do; what the allocator keeps beyond them is not known here.\n";
  answer(asked, [&](RespReply& reply) { reply.verbatim("txt", text); });
}

void EdgeCommands::memory_command(const Asked& asked, const Arguments& args) {
  const auto is = [&](std::string_view name) { return equal_ignoring_case(args[1], name); };
  if (is("USAGE")) return memory_usage(asked, args[2]);
  if (is("STATS")) return memory_stats(asked);
  if (is("DOCTOR")) return memory_doctor(asked);
  on_worker(asked, [this, asked]() -> std::function<void()> {  // PURGE: the allocator may take its time
    ::malloc_trim(0);
    return [this, asked] { answer(asked, [](RespReply& reply) { reply.ok(); }); };
  });
}

// The settings are taken now, the file is written by the worker.
void EdgeCommands::rewrite_config(const Asked& asked) {
  RespSettings settings = server_->settings();
  on_worker(asked, [this, asked, kept = EdgeRedisSettings{std::move(settings.parameters), std::move(settings.users)}] {
    const auto written = config_.rewrite_config(kept);
    return std::function<void()>([this, asked, why = written ? std::string() : written.error().message] {
      if (!why.empty()) return answer_error(asked, "ERR Rewriting config file: " + why);
      answer(asked, [](RespReply& reply) { reply.ok(); });
    });
  });
}

bool EdgeCommands::has_config_file() const { return static_cast<bool>(config_.rewrite_config); }

std::optional<std::string> EdgeCommands::shutdown() {
  if (!config_.on_shutdown) return CommandHandler::shutdown();
  config_.on_shutdown();
  return std::nullopt;
}

}  // namespace tidelock
