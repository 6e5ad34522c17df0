// Which of the files that somebody drops is the model, which the evaluation set, and which goes with the model.

const MODEL = /\.(onnx|pt2|pt|pth|ts|torchscript|safetensors)$/i;

/** An empty choice. */
export const noFiles = () => ({ model: null, eval: null, config: null, student: null, external: [] });

/** Whether some of a model's weights may lie in files beside it. */
export const takesSideFiles = (model) => model !== null && /\.onnx$/i.test(model.name);

/**
 * Adds `files` to what is `chosen`, by their names. A file with an unknown name is the model where there is none yet (the
 * server says what is wrong with it), and else a side file of an ONNX model.
 */
export function sortFiles(files, chosen = noFiles()) {
  const sorted = { ...chosen, external: [...chosen.external] };
  const unknown = [];
  for (const file of files) {
    if (/\.npz$/i.test(file.name)) sorted.eval = file;
    else if (/\.json$/i.test(file.name)) sorted.config = file;
    else if (MODEL.test(file.name)) {
      sorted.model = file;
      sorted.external = [];
    } else unknown.push(file);
  }
  for (const file of unknown) {
    if (takesSideFiles(sorted.model)) sorted.external.push(file);
    else sorted.model = file;
  }
  return sorted;
}

/** The multipart body of `POST /jobs` and `POST /inspect`. */
export function formOf(chosen, config, { withEval }) {
  const form = new FormData();
  if (Object.keys(config).length > 0) {
    form.append('config', new Blob([JSON.stringify(config)], { type: 'application/json' }), 'config.json');
  }
  form.append('model', chosen.model);
  for (const file of chosen.external) form.append('external_data', file);
  if (chosen.student) form.append('student', chosen.student);
  if (withEval && chosen.eval) form.append('eval', chosen.eval);
  return form;
}
