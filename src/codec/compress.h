// zstd frames.
//
// Threads: any; one context per thread is kept. Cost: level 1 compresses about 300 MB/s, decompression about 1 GB/s.
// Errors: kCorrupt for anything that is not one whole frame, and for a frame that would grow above the cap: the output
// never exceeds `bytes_max`, whatever the frame's header claims.
#pragma once

#include <cstddef>

#include "base/bytes.h"
#include "base/result.h"

namespace tidelock {

inline constexpr int kCompressLevel = 1;

// `level` 1..19.
Bytes compress(BytesView bytes, int level = kCompressLevel);
// `what` names the thing in the error: "write-behind batch".
Result<Bytes> decompress(BytesView frame, std::size_t bytes_max, const char* what);

// The same against bytes that the receiver has. Long distances are found. `prefix` may be empty.
Bytes compress_against(BytesView bytes, BytesView prefix, int level);
// Fills `out` with exactly `bytes` bytes. Allocates nothing that the frame asks for.
Result<void> decompress_against(BytesView frame, BytesView prefix, char* out, std::size_t bytes, const char* what);

}  // namespace tidelock
