#ifndef CLEAVE_TARGET_SIMT_H
#define CLEAVE_TARGET_SIMT_H
#include "llvm/IR/Module.h"
#include "llvm/Support/Error.h"
#include <vector>
namespace cleave {
llvm::Expected<std::vector<char>> makeSimtImage(llvm::Module &module);
}
#endif
