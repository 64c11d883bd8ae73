//===- Retarget.h - what the parts of retargeting share ---------*- C++ -*-===//

#ifndef CLEAVE_LIB_TARGET_SIMT_RETARGET_H
#define CLEAVE_LIB_TARGET_SIMT_RETARGET_H

#include "cleave/Runtime/SimtAbi.h"

#include "llvm/ADT/StringMap.h"
#include "llvm/IR/IRBuilder.h"
#include "llvm/IR/Module.h"
#include "llvm/IR/ModuleSlotTracker.h"
#include "llvm/Support/Error.h"

namespace cleave::simt {

/// A module on its way to the host: makes calls into the simulator and the data of the
/// image that they need.
class Target {
public:
  explicit Target(llvm::Module &module);

  llvm::Module &module;
  llvm::LLVMContext &context;

  /// Calls a function of the simulator. Arguments have the types of its parameters.
  llvm::CallInst *call(llvm::IRBuilderBase &builder, cleave_simt_function function,
                       llvm::Type *result, llvm::ArrayRef<llvm::Value *> arguments);
  /// Room for a value in the frame of the builder's function.
  static llvm::AllocaInst *room(llvm::IRBuilderBase &builder, llvm::Type *type);

  struct Access {
    uint64_t bytes = 0, align = 0;
    unsigned space = CLEAVE_SIMT_GENERIC;
    bool aligned = false;
  };
  /// The record of `instruction`, which does `what`.
  llvm::Constant *site(const llvm::Instruction &instruction, llvm::StringRef what,
                       const Access &access);
  llvm::Constant *site(const llvm::Instruction &instruction, llvm::StringRef what) {
    return site(instruction, what, Access{});
  }
  llvm::Constant *text(llvm::StringRef text);
  /// A private table of `elements`; null for none.
  llvm::Constant *table(llvm::StructType *type, llvm::ArrayRef<llvm::Constant *> elements);

  /// A product of four warps: what hands its sums over, and what takes them.
  struct GroupProduct {
    llvm::CallInst *call;
    llvm::SmallVector<llvm::StoreInst *> sums;
    llvm::SmallVector<llvm::LoadInst *> results;
  };
  std::vector<GroupProduct> products;

  llvm::GlobalVariable *functions, *shared, *dynamicShared; ///< what the simulator sets
  std::vector<llvm::GlobalVariable *> constants;            ///< of the program

private:
  llvm::StructType *siteType;
  llvm::StringMap<llvm::Constant *> texts;
  llvm::ModuleSlotTracker slots;
  const llvm::Function *incorporated = nullptr;
};

/// `"name" in kernel or function "k": what`.
llvm::Error unknown(const llvm::Instruction &instruction, const llvm::Twine &what);

/// Replaces calls of NVVM's intrinsics and of inline assembly.
llvm::Error lowerCalls(Target &target);
/// One of arithmetic, by its name behind "llvm.nvvm."; null for one that is none.
llvm::Value *lowerArithmetic(Target &target, llvm::CallInst &call, llvm::StringRef name,
                             llvm::ArrayRef<llvm::Value *> arguments);
/// One of matrices and copies; null for one that is none.
llvm::Value *lowerTile(Target &target, llvm::CallInst &call, llvm::StringRef name);
/// One of mbarriers, bulk copies and groups of warps; null for one that is none.
llvm::Value *lowerAsync(Target &target, llvm::CallInst &call, llvm::StringRef name);
/// The same as assembly.
llvm::Value *lowerAsyncAssembly(Target &target, llvm::CallInst &call, llvm::StringRef text);

/// Operands of wgmma.mma_async.
struct Product {
  llvm::ArrayRef<llvm::Value *> sums, left; ///< in registers; left may have a descriptor
  llvm::Value *leftDescriptor, *right, *adds;
  llvm::ArrayRef<llvm::Value *> immediates;
};
/// Sets its results; false for what is not known.
bool lowerProduct(Target &target, llvm::CallInst &call, llvm::StringRef name,
                  const Product &product, llvm::MutableArrayRef<llvm::Value *> results);
/// Lets the simulator see who uses sums of products.
void trackSums(Target &target);
/// Inline assembly; null where it is none that is known.
llvm::Value *lowerAssembly(Target &target, llvm::CallInst &call, llvm::StringRef text);
/// Puts arithmetic that the host would call libraries for into other words.
void lowerForHost(Target &target);
/// Puts a check before each access to memory that other threads may see.
llvm::Error checkAccesses(Target &target);

/// A kernel and the variables in shared memory that it uses.
struct Kernel {
  llvm::Function *function;
  std::vector<llvm::Constant *> variables;
  uint64_t sharedBytes = 0, dynamicAlign = 0;
};
/// Gives variables in shared memory their places.
llvm::Expected<std::vector<Kernel>> placeShared(Target &target);
/// Adds entries of the kernels, and the table that lists them.
void describe(Target &target, llvm::ArrayRef<Kernel> kernels);

} // namespace cleave::simt

#endif // CLEAVE_LIB_TARGET_SIMT_RETARGET_H
