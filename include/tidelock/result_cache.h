// Results that need not be computed twice on one gateway: what a model gave for an input, or what a stage of it gave.
//
//   tidelock::ResultCache results(*client, {});
//   const std::string key = tidelock::result_key(use->receipt, "640x640 letterbox, f32 / 255", pixels);
//   tidelock::ValueRef embedding;
//   if (!results.find(key, embedding)) results.keep(key, compute());
//
// A result is a value of this gateway alone, under a key that names the model's bytes, the preprocessing and the
// input's bytes. So it cannot outlive its model: under another version the same input has another key, and what the
// former one gave is evicted when nobody asks for it. Every process of the gateway finds it in the memory that they
// share.
//
// Threads: as the client's, which it must not outlive.
// Cost:    result_key hashes the input (SHA-256, about 1 GB/s). A result that is found costs what Client::get_ref does;
//          one that is not, and keep, ask the edge once.
// Errors:  as the client's. Without an edge nothing is found that is not in memory, and nothing is kept: compute it.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

#include "base/result.h"
#include "memory/value_ref.h"
#include "tidelock/client.h"
#include "tidelock/model.h"

namespace tidelock {

struct ResultOptions {
  std::int64_t ttl_ms = 600'000;     // since it was kept; at least 1
  std::size_t bytes_max = 1u << 19;  // of one result: larger ones are refused
};

// `model`: of the use that computes the result. `preprocessing`: whatever tells apart two ways from input to tensor, at
// most kPreprocessingBytesMax; a change of that code needs another text. `input`: the bytes before preprocessing.
inline constexpr std::size_t kPreprocessingBytesMax = 4'096;
Result<std::string> result_key(const ModelReceipt& model, std::string_view preprocessing, std::string_view input);

class ResultCache {
 public:
  ResultCache(Client& client, const ResultOptions& options) : client_(client), options_(options) {}

  // kNotFound: nobody kept it, or it ended. `out` as from Client::get_ref.
  Result<Receipt> find(const std::string& key, ValueRef& out);
  Result<void> keep(const std::string& key, std::string_view result);

 private:
  Client& client_;
  const ResultOptions options_;
};

}  // namespace tidelock
