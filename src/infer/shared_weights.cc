#include "infer/shared_weights.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <utility>

#include "codec/tensor_map.h"

namespace tidelock {
namespace {

// Of the file's offsets: the largest page of any machine that we build for, so that a file serves wherever it is
// copied.
constexpr std::uint64_t kAlign = 64u << 10;

std::uint64_t aligned(std::uint64_t at) { return (at + kAlign - 1) / kAlign * kAlign; }

Result<std::vector<SharedWeights::Piece>> layout(BytesView onnx, std::uint64_t& file_bytes) {
  auto map = parse_onnx_tensors(onnx);
  if (!map) return fail(map.error());
  std::vector<SharedWeights::Piece> pieces;
  file_bytes = 0;
  for (TensorRange& tensor : map->tensors) {
    if (tensor.size_bytes < kSharedTensorBytesMin) continue;
    const std::uint64_t size_bytes = tensor.size_bytes;
    pieces.push_back({std::move(tensor), file_bytes});
    file_bytes = aligned(file_bytes + size_bytes);
  }
  return pieces;
}

}  // namespace

Result<Bytes> weights_file_of(BytesView onnx) {
  std::uint64_t file_bytes = 0;
  const auto pieces = layout(onnx, file_bytes);
  if (!pieces) return fail(pieces.error());
  Bytes file(file_bytes, '\0');
  for (const SharedWeights::Piece& piece : *pieces)
    std::memcpy(file.data() + piece.at, onnx.data() + piece.tensor.offset, piece.tensor.size_bytes);
  return file;
}

Result<std::shared_ptr<const SharedWeights>> SharedWeights::open(BytesView onnx, const std::string& path) {
  std::uint64_t file_bytes = 0;
  auto pieces = layout(onnx, file_bytes);
  if (!pieces) return fail(pieces.error());
  std::shared_ptr<SharedWeights> weights(new SharedWeights);
  weights->pieces_ = std::move(*pieces);
  weights->fd_ = ::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
  if (weights->fd_ < 0)
    return fail(errno == ENOENT ? Code::kNotFound : Code::kUnavailable, path + ": " + std::strerror(errno));
  struct stat info{};
  if (::fstat(weights->fd_, &info) != 0 || !S_ISREG(info.st_mode) ||
      static_cast<std::uint64_t>(info.st_size) != file_bytes || file_bytes == 0) {
    return fail(Code::kCorrupt, path + ": has " + std::to_string(info.st_size) + " bytes, the weights of this model " +
                                    std::to_string(file_bytes));
  }
  void* at = ::mmap(nullptr, file_bytes, PROT_READ, MAP_SHARED, weights->fd_, 0);
  if (at == MAP_FAILED) return fail(Code::kUnavailable, path + ": " + std::strerror(errno));
  weights->mapped_ = static_cast<const char*>(at);
  weights->mapped_bytes_ = file_bytes;
  for (const Piece& piece : weights->pieces_) {  // X3
    if (std::memcmp(weights->data(piece), onnx.data() + piece.tensor.offset, piece.tensor.size_bytes) != 0)
      return fail(Code::kCorrupt, path + ": tensor '" + piece.tensor.name + "' is not that of the model");
  }
  return std::shared_ptr<const SharedWeights>(std::move(weights));
}

SharedWeights::~SharedWeights() {
  if (mapped_ != nullptr) ::munmap(const_cast<char*>(mapped_), mapped_bytes_);
  if (fd_ >= 0) ::close(fd_);
}

std::uint64_t SharedWeights::take_place_of(std::span<const Region> regions) const {
  std::uint64_t shared = 0;
  const auto page = static_cast<std::size_t>(::sysconf(_SC_PAGESIZE));
  for (const Region& region : regions) {
    if (reinterpret_cast<std::uintptr_t>(region.at) % page != 0) continue;
    for (const Piece& piece : pieces_) {
      if (piece.tensor.size_bytes != region.bytes || std::memcmp(data(piece), region.at, region.bytes) != 0) continue;
      const std::size_t pages = (region.bytes + page - 1) / page * page;
      // Over the pages that are there: all or nothing, and whoever reads meanwhile finds the same bytes.
      if (::mmap(region.at, pages, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_FIXED, fd_,
                 static_cast<off_t>(piece.at)) != MAP_FAILED)
        shared += region.bytes;
      break;
    }
  }
  return shared;
}

}  // namespace tidelock
