//===- DataSet.h - a folder of TensorProto files --------------*- C++ -*-===//

#ifndef CLEAVE_FRONTEND_DATASET_H
#define CLEAVE_FRONTEND_DATASET_H

#include "cleave/Support/Tensor.h"

namespace cleave {

/// Whether `folder` holds files `prefix`_0.pb and so on, as the test_data_set_N
/// folders of ONNX's backend suite do with the prefixes `input` and `output`.
bool isDataSet(llvm::StringRef folder, llvm::StringRef prefix);

/// The tensors of such a folder. A file whose tensor is called like none of `names`
/// stands for the name of its number. Fails, naming the file, for one that is no
/// tensor, lies about itself or stands for no name.
llvm::Expected<NamedTensors> readDataSet(llvm::StringRef folder, llvm::StringRef prefix,
                                         llvm::ArrayRef<std::string> names);

} // namespace cleave

#endif // CLEAVE_FRONTEND_DATASET_H
