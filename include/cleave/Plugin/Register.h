//===- Register.h - all dialects and passes of Cleave ---------*- C++ -*-===//

#ifndef CLEAVE_PLUGIN_REGISTER_H
#define CLEAVE_PLUGIN_REGISTER_H

#include "mlir/IR/DialectRegistry.h"

namespace cleave {

void registerDialects(mlir::DialectRegistry &registry);
void registerPasses();

} // namespace cleave

#endif // CLEAVE_PLUGIN_REGISTER_H
