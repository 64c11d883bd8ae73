//===- Gpu.h - a simulated GPU for tests ------------------------*- C++ -*-===//

#ifndef CLEAVE_TEST_UNIT_SIMT_GPU_H
#define CLEAVE_TEST_UNIT_SIMT_GPU_H

#include <cuda.h>
#include <gtest/gtest.h>

#include <string>
#include <vector>

namespace cleave::test {

/// The functions of the simulator, found as those of CUDA's driver would be.
struct Functions {
#define SIMT_TEST_FUNCTION(name) decltype(&::name) name;
#include "Functions.def"
#undef SIMT_TEST_FUNCTION
  size_t (*report)(char *text, size_t bytes);
  int (*schedule)(const char *text);
  int (*conflicts)(const char *kernel, uint64_t *extra, uint64_t *accesses);
};

const Functions &cuda();

/// The schedules that every kernel is tried in.
inline const char *const schedules[] = {"greedy", "shuffled:1", "shuffled:2"};

/// An image of `module`, LLVM IR without its triple; the message where there is none.
std::vector<char> imageOf(const std::string &module, std::string *error = nullptr);

/// A device whose context is current, and reset in the end.
class Gpu {
public:
  explicit Gpu(const std::string &schedule = "greedy");
  ~Gpu();

  CUfunction load(const std::string &module, const char *kernel = "kernel");
  CUdeviceptr allocate(size_t bytes);
  template <typename T> CUdeviceptr upload(const std::vector<T> &values) {
    CUdeviceptr address = allocate(values.size() * sizeof(T));
    EXPECT_EQ(cuda().cuMemcpyHtoDAsync(address, values.data(), values.size() * sizeof(T), stream),
              CUDA_SUCCESS);
    EXPECT_EQ(cuda().cuStreamSynchronize(stream), CUDA_SUCCESS);
    return address;
  }
  template <typename T> std::vector<T> download(CUdeviceptr address, size_t count) {
    std::vector<T> values(count);
    EXPECT_EQ(cuda().cuMemcpyDtoHAsync(values.data(), address, count * sizeof(T), stream),
              CUDA_SUCCESS);
    EXPECT_EQ(cuda().cuStreamSynchronize(stream), CUDA_SUCCESS) << report();
    return values;
  }

  /// Launches and waits.
  template <typename... Arguments>
  CUresult run(CUfunction kernel, unsigned grid, unsigned block, unsigned sharedBytes,
               Arguments... arguments) {
    void *addresses[] = {&arguments..., nullptr};
    CUresult queued = cuda().cuLaunchKernel(kernel, grid, 1, 1, block, 1, 1, sharedBytes, stream,
                                            addresses, nullptr);
    return queued != CUDA_SUCCESS ? queued : cuda().cuStreamSynchronize(stream);
  }
  static std::string report();

  CUcontext context = nullptr;
  CUstream stream = nullptr;
};

/// A map of a tensor whose rows follow each other, and the box that is taken of it.
struct Map {
  CUtensorMapDataType type = CU_TENSOR_MAP_DATA_TYPE_INT32;
  std::vector<cuuint64_t> sizes, strides; ///< strides in bytes, of all but the first
  std::vector<cuuint32_t> box;
  CUtensorMapSwizzle swizzle = CU_TENSOR_MAP_SWIZZLE_NONE;

  CUresult encode(CUtensorMap &map, CUdeviceptr address) const;
  CUtensorMap of(CUdeviceptr address) const {
    CUtensorMap map;
    EXPECT_EQ(encode(map, address), CUDA_SUCCESS);
    return map;
  }
};

/// `text` with another part in place of one that has to be there.
std::string changed(std::string text, const std::string &part, const std::string &other);

/// What NVPTX's code generator and ptxas say of a module for sm_90a; empty where they take it.
std::string assembled(const std::string &module);

/// Expects that `text` has `part`.
void expectSays(const std::string &text, const std::string &part);

} // namespace cleave::test

#endif // CLEAVE_TEST_UNIT_SIMT_GPU_H
