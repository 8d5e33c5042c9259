// M9: the file of weights is made beside a verified model, and made again when it is not that model's.
#include "edge/model_weights.h"

#include <gtest/gtest.h>

#include <vector>

#include "infer/onnx_file.h"
#include "infer/shared_weights.h"
#include "store/models/files.h"
#include "store/models/test_folder.h"

namespace tidelock {
namespace {

TEST(ModelWeights, AreMadeAndMadeAgainWhenTheyAreTorn) {
  const TestFolder folder;
  OnnxBuilder b;
  const std::int64_t shape[] = {1, 128, 1, 1}, of_weights[] = {128, 128, 1, 1};
  const std::vector<float> weights(128 * 128, 1.0f);
  b.input("x", shape);
  b.output("y", shape);
  b.weights("w", of_weights, weights);
  b.node("Conv", {"x", "w"}, {"y"}, {onnx_ints("kernel_shape", {1, 1})});
  const Bytes onnx = b.finish("large");
  const std::string path = folder.path() + "/" + kWeightsFileName;
  ASSERT_TRUE(files::replace(folder.path() + "/model.onnx", onnx));
  place_weights(folder.path());
  EXPECT_TRUE(SharedWeights::open(onnx, path));
  ASSERT_TRUE(files::replace(path, "torn"));
  ASSERT_FALSE(SharedWeights::open(onnx, path));
  place_weights(folder.path());
  EXPECT_TRUE(SharedWeights::open(onnx, path));
}

}  // namespace
}  // namespace tidelock
