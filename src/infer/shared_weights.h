// M9: the weights of a version as a file whose tensors begin at page boundaries, so that the processes of a gateway can
// map them in the place of what an engine copied for itself: one copy in memory, whoever runs the model.
//
// ONNX packs its tensors without any alignment and engines copy them on load, so model.onnx itself cannot be mapped.
// The edge makes this file when it has verified a version. A process that loads the version compares it with the
// model's own file, which it has hashed: a weights file that is missing, old or damaged then costs memory, never a
// result. (What rots on disk later, and is read again for want of memory, nobody sees: keep flash that tells.)
// Pages are mapped privately: what an engine writes to is its own from then on.
//
// Threads: any. Limits: tensors below kSharedTensorBytesMin are not worth a page of their own, and are left out.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "base/bytes.h"
#include "base/result.h"
#include "codec/tensor_map.h"

namespace tidelock {

inline constexpr std::size_t kSharedTensorBytesMin = 32u << 10;
inline constexpr char kWeightsFileName[] = "tidelock.weights";  // in a version's folder

// The file for a model; empty when it has no tensor that is large enough. kCorrupt when the bytes are no ONNX model.
Result<Bytes> weights_file_of(BytesView onnx);

class SharedWeights {
 public:
  // kNotFound: no such file. kCorrupt: it does not hold the large tensors of this model, byte for byte.
  static Result<std::shared_ptr<const SharedWeights>> open(BytesView onnx, const std::string& path);
  ~SharedWeights();
  SharedWeights(const SharedWeights&) = delete;
  SharedWeights& operator=(const SharedWeights&) = delete;

  struct Piece {
    TensorRange tensor;    // in the model's file
    std::uint64_t at = 0;  // in this one
  };
  const std::vector<Piece>& pieces() const { return pieces_; }
  // Of a piece: read-only, and there as long as this object is.
  const void* data(const Piece& piece) const { return mapped_ + piece.at; }

  struct Region {  // pages of this process that begin with a tensor's bytes; nobody may write to them meanwhile
    void* at = nullptr;
    std::size_t bytes = 0;  // of the tensor
  };
  // Maps the file in the place of every region that holds the same bytes as a tensor of it; how many bytes that was. A
  // region must begin at a page and own all of its last one. The pages stay when this object is gone.
  std::uint64_t take_place_of(std::span<const Region> regions) const;

 private:
  SharedWeights() = default;
  int fd_ = -1;
  const char* mapped_ = nullptr;
  std::size_t mapped_bytes_ = 0;
  std::vector<Piece> pieces_;
};

}  // namespace tidelock
