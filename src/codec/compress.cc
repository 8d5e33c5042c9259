#include "codec/compress.h"

#include <zstd.h>

#include <algorithm>
#include <memory>

#include "base/assert.h"

namespace tidelock {
namespace {

struct FreeCompressor {
  void operator()(ZSTD_CCtx* context) const { ZSTD_freeCCtx(context); }
};
struct FreeDecompressor {
  void operator()(ZSTD_DCtx* context) const { ZSTD_freeDCtx(context); }
};

// A frame may demand a window of up to 2 GiB; ours never need more than this.
constexpr int kWindowLogMax = 27;

}  // namespace

Bytes compress(BytesView bytes, int level) {
  thread_local const std::unique_ptr<ZSTD_CCtx, FreeCompressor> context(ZSTD_createCCtx());
  TIDELOCK_ASSERT(context != nullptr);
  Bytes out(ZSTD_compressBound(bytes.size()), '\0');
  const std::size_t size =
      ZSTD_compressCCtx(context.get(), out.data(), out.size(), bytes.data(), bytes.size(), std::clamp(level, 1, 19));
  TIDELOCK_ASSERT(!ZSTD_isError(size));  // the buffer has the bound that zstd itself names
  out.resize(size);
  return out;
}

// Streams into a buffer that grows as bytes arrive: neither the header's claim nor the cap is allocated up front (X7).
Result<Bytes> decompress(BytesView frame, std::size_t bytes_max, const char* what) {
  thread_local const std::unique_ptr<ZSTD_DCtx, FreeDecompressor> context(ZSTD_createDCtx());
  TIDELOCK_ASSERT(context != nullptr);
  ZSTD_DCtx_reset(context.get(), ZSTD_reset_session_and_parameters);
  ZSTD_DCtx_setParameter(context.get(), ZSTD_d_windowLogMax, kWindowLogMax);

  const auto too_large = [&] {
    return fail(Code::kCorrupt,
                std::string(what) + ": decompresses to more than " + std::to_string(bytes_max) + " bytes");
  };
  const unsigned long long claimed = ZSTD_getFrameContentSize(frame.data(), frame.size());
  if (claimed == ZSTD_CONTENTSIZE_ERROR) return fail(Code::kCorrupt, std::string(what) + ": not a zstd frame");
  if (claimed != ZSTD_CONTENTSIZE_UNKNOWN && claimed > bytes_max) return too_large();

  Bytes out;
  ZSTD_inBuffer in{frame.data(), frame.size(), 0};
  const std::size_t step = ZSTD_DStreamOutSize();
  for (;;) {
    const std::size_t at = out.size();
    // One byte above the cap is enough to see that a frame passes it.
    out.resize(at + std::min(step, bytes_max - at + 1));
    ZSTD_outBuffer to{out.data() + at, out.size() - at, 0};
    const std::size_t left = ZSTD_decompressStream(context.get(), &to, &in);
    out.resize(at + to.pos);
    if (ZSTD_isError(left)) return fail(Code::kCorrupt, std::string(what) + ": " + ZSTD_getErrorName(left));
    if (out.size() > bytes_max) return too_large();
    if (left == 0) break;
    if (to.pos == 0 && in.pos == in.size) return fail(Code::kCorrupt, std::string(what) + ": frame ends too early");
  }
  if (in.pos != in.size) return fail(Code::kCorrupt, std::string(what) + ": bytes after the end of the frame");
  return out;
}

Bytes compress_against(BytesView bytes, BytesView prefix, int level) {
  const std::unique_ptr<ZSTD_CCtx, FreeCompressor> context(ZSTD_createCCtx());
  TIDELOCK_ASSERT(context != nullptr);
  ZSTD_CCtx_setParameter(context.get(), ZSTD_c_compressionLevel, std::clamp(level, 1, 19));
  if (!prefix.empty()) {
    int window_log = 10;
    while (window_log < kWindowLogMax && (std::size_t{1} << window_log) < bytes.size() + prefix.size()) ++window_log;
    ZSTD_CCtx_setParameter(context.get(), ZSTD_c_windowLog, window_log);
    if (window_log >= 22) ZSTD_CCtx_setParameter(context.get(), ZSTD_c_enableLongDistanceMatching, 1);
    ZSTD_CCtx_refPrefix(context.get(), prefix.data(), prefix.size());
  }
  Bytes out(ZSTD_compressBound(bytes.size()), '\0');
  const std::size_t size = ZSTD_compress2(context.get(), out.data(), out.size(), bytes.data(), bytes.size());
  TIDELOCK_ASSERT(!ZSTD_isError(size));
  out.resize(size);
  return out;
}

// In one go into a buffer of the right size, so that zstd needs no window of its own, whatever the frame says.
Result<void> decompress_against(BytesView frame, BytesView prefix, char* out, std::size_t bytes, const char* what) {
  thread_local const std::unique_ptr<ZSTD_DCtx, FreeDecompressor> context(ZSTD_createDCtx());
  TIDELOCK_ASSERT(context != nullptr);
  ZSTD_DCtx_reset(context.get(), ZSTD_reset_session_and_parameters);
  ZSTD_DCtx_setParameter(context.get(), ZSTD_d_windowLogMax, kWindowLogMax);
  if (!prefix.empty()) ZSTD_DCtx_refPrefix(context.get(), prefix.data(), prefix.size());
  if (ZSTD_findFrameCompressedSize(frame.data(), frame.size()) != frame.size()) {
    return fail(Code::kCorrupt, std::string(what) + ": not one whole zstd frame");
  }
  const std::size_t size = ZSTD_decompressDCtx(context.get(), out, bytes, frame.data(), frame.size());
  if (ZSTD_isError(size) || size != bytes) {  // what zstd finds wrong first is not the same on every machine
    return fail(Code::kCorrupt, std::string(what) + ": does not decompress to its " + std::to_string(bytes) + " bytes");
  }
  return {};
}

}  // namespace tidelock
