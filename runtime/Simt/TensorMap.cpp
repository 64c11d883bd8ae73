//===- TensorMap.cpp - CUDA's functions for maps of tensors ---------------===//

#include "TensorMap.h"

#include "Driver.h"

using namespace cleave::simt;

/// 0 for types that are packed.
static uint8_t bytesOf(CUtensorMapDataType type) {
  switch (type) {
  case CU_TENSOR_MAP_DATA_TYPE_UINT8: return 1;
  case CU_TENSOR_MAP_DATA_TYPE_UINT16:
  case CU_TENSOR_MAP_DATA_TYPE_FLOAT16:
  case CU_TENSOR_MAP_DATA_TYPE_BFLOAT16: return 2;
  case CU_TENSOR_MAP_DATA_TYPE_UINT32:
  case CU_TENSOR_MAP_DATA_TYPE_INT32:
  case CU_TENSOR_MAP_DATA_TYPE_FLOAT32:
  case CU_TENSOR_MAP_DATA_TYPE_FLOAT32_FTZ:
  case CU_TENSOR_MAP_DATA_TYPE_TFLOAT32:
  case CU_TENSOR_MAP_DATA_TYPE_TFLOAT32_FTZ: return 4;
  case CU_TENSOR_MAP_DATA_TYPE_UINT64:
  case CU_TENSOR_MAP_DATA_TYPE_INT64:
  case CU_TENSOR_MAP_DATA_TYPE_FLOAT64: return 8;
  default: return 0;
  }
}

/// The tensor and its box; false for what a GPU would not take.
static bool describe(TensorMap &map, const cuuint64_t *sizes, const cuuint64_t *strides,
                     const cuuint32_t *box, const cuuint32_t *steps) {
  for (uint32_t i = 0; i < map.rank; ++i) {
    if (!sizes[i] || sizes[i] > uint64_t(1) << 31 || !box[i] || box[i] > 256 || !steps[i] ||
        steps[i] > 8)
      return false;
    map.sizes[i] = uint32_t(sizes[i]);
    map.box[i] = uint16_t(box[i]);
    if (!i)
      continue;
    uint64_t stride = strides[i - 1];
    if (stride % 16 || stride >> 40)
      return false;
    map.strides[i] = stride;
  }
  return true;
}

CUresult cuTensorMapEncodeTiled(CUtensorMap *result, CUtensorMapDataType type, cuuint32_t rank,
                                void *address, const cuuint64_t *sizes, const cuuint64_t *strides,
                                const cuuint32_t *box, const cuuint32_t *steps,
                                CUtensorMapInterleave interleave, CUtensorMapSwizzle swizzle,
                                CUtensorMapL2promotion, CUtensorMapFloatOOBfill fill) {
  return enter([&](Driver &driver, CUcontext) {
    if (driver.major < 9)
      return CUDA_ERROR_NOT_SUPPORTED;
    if (reinterpret_cast<uint64_t>(result) % 64 || !result || !rank || rank > 5 || !address ||
        reinterpret_cast<uint64_t>(address) % 16 || !sizes || (rank > 1 && !strides) || !box ||
        !steps)
      return CUDA_ERROR_INVALID_VALUE;
    TensorMap map;
    map.magic = TensorMap::mark;
    map.rank = uint8_t(rank);
    map.elementBytes = bytesOf(type);
    map.swizzle = uint8_t(swizzle);
    map.address = reinterpret_cast<uint64_t>(address);
    bool plain = true;
    for (uint32_t i = 1; i < rank; ++i)
      plain &= steps[i] == 1;
    if (!map.elementBytes || !plain || interleave != CU_TENSOR_MAP_INTERLEAVE_NONE ||
        swizzle > CU_TENSOR_MAP_SWIZZLE_128B || fill != CU_TENSOR_MAP_FLOAT_OOB_FILL_NONE)
      return CUDA_ERROR_NOT_SUPPORTED;
    if (!describe(map, sizes, strides, box, steps))
      return CUDA_ERROR_INVALID_VALUE;
    uint32_t row = box[0] * map.elementBytes, span = 16u << map.swizzle;
    if (row % 16 || (map.swizzle && row > span))
      return CUDA_ERROR_INVALID_VALUE;
    // How a GPU lays out a row that does not fill the span is not written anywhere.
    if (map.swizzle && row < span)
      return CUDA_ERROR_NOT_SUPPORTED;
    memset(result, 0, sizeof *result);
    memcpy(result, &map, sizeof map);
    return CUDA_SUCCESS;
  });
}
