//! Codes of this crate's diagnostics (E09xx), with the long text that `archc explain` prints.

use archc_compiler::diag::Code;

/// Every code that this crate reports, in order.
pub const CODES: &[Code] = &[
    Code {
        code: "E0901",
        title: "unknown task",
        text: "The name after `--task` is not one of the tasks that archc knows. The help lists them all.\n\
               \n\
               Wrong:  archc train block.arch --task recal\n\
               Right:  archc train block.arch --task recall",
    },
    Code {
        code: "E0902",
        title: "unknown or malformed setting of a task",
        text: "A task is written NAME or NAME:SETTING=NUMBER,SETTING=NUMBER. Each task has its own settings, \
               all of them numbers; the message lists those of the task at hand. The task `jsonl` has none: what follows \
               its name is the path of its rows.\n\
               \n\
               Wrong:  --task recall:length=64\n\
               Right:  --task recall:len=64,vocab=32\n\
               Right:  --task jsonl:rows.jsonl",
    },
    Code {
        code: "E0903",
        title: "a task's setting is out of range",
        text: "The value would make a sequence that cannot exist: a length of zero, a vocabulary that has no room \
               for keys and values, more tokens to copy than the sequence holds. The message states the range.",
    },
    Code {
        code: "E0904",
        title: "the corpus cannot be read",
        text: "`--corpus` wants a file, or a folder whose files are read in order of their names (hidden ones, \
               links to folders and links to nothing are left out). The path is missing, or the system refuses to read it.",
    },
    Code {
        code: "E0905",
        title: "the corpus is empty",
        text: "The corpus exists but holds not one byte that could be learned: the file is empty or only white space, \
               or the folder has no files.",
    },
    Code {
        code: "E0906",
        title: "the corpus is too small",
        text: "A corpus is split by document into training (about 80 %), validation (10 %) and test (10 %). Each \
               part must hold at least one whole sequence, and training at least sixteen: otherwise the model would \
               learn the text by heart and the score would say nothing. Give more text, or a smaller `len`.",
    },
    Code {
        code: "E0907",
        title: "the text task has no text",
        text: "The task `text` reads the corpus given by `--corpus`; without one it reads the text that the program \
               carries. This build carries none. Give a file or folder:\n\
               \n\
               archc train block.arch --task text --corpus books/",
    },
    Code {
        code: "E0908",
        title: "a training setting is out of range",
        text: "Steps, batch size and learning rate must be positive, the warm-up may not be longer than the training, \
               and the final learning rate is a share between 0 and 1 of the peak.",
    },
    Code {
        code: "E0909",
        title: "the program does not fit the task",
        text: "Training needs a model: tokens in, logits over the task's vocabulary out. A block of one input and one \
               output over [D] is put into the standard stack, which makes it a model; other blocks can be checked, \
               built and run with `archc forward`, but not trained. This message also appears when a model was built \
               for another vocabulary.",
    },
    Code {
        code: "E0910",
        title: "training diverged",
        text: "The loss or the gradient stopped being finite for five steps in a row, is not finite at the last step or on \
               the test part, or the loss stayed far above that of guessing for 50 steps. The parameters are those before \
               the first bad step. `archc train` runs the forward pass of that step once more on the reference device and \
               shows the op that first makes a number that is not finite of finite ones.\n\
               \n\
               Where that is the first step, the program computes it, whatever the learning rate: a square root of a \
               negative number, an `exp` that overflows, a division by zero. Later, the usual causes are a learning rate \
               that is too high (try `--lr` three times smaller), a scan whose transition may grow (`archc check` warns: \
               W07xx), or what only some values reach.",
    },
    Code {
        code: "E0911",
        title: "a run's folder cannot be written",
        text: "The disk is full, the folder is read-only, or the path is not a folder. Files are written beside their \
               names and then renamed, so the last checkpoint is whole: free some space and run the same command again \
               to go on from it.",
    },
    Code {
        code: "E0912",
        title: "a run's folder or checkpoint cannot be read",
        text: "The file is missing, cut short, or not a checkpoint of archc (safetensors with `params.`, `first.` and \
               `second.` tensors and an `archc` entry in its header).",
    },
    Code {
        code: "E0913",
        title: "the run's folder belongs to another run",
        text: "The folder holds a checkpoint of another program, task, corpus or setting; to go on from it would mix \
               two runs. The message names what differs, with both values. Give another `--out`, or the settings of the \
               first run, which `archc train RUN` takes from the folder.\n\
               \n\
               More `--steps` are no other run: it goes on from the step that it has reached, under the schedule of the \
               new number of steps, and `stretched` in run.json says from which step on.",
    },
    Code {
        code: "E0914",
        title: "the run's folder is held by another process",
        text: "Another archc is training into this folder. Wait for it, or give another `--out`. The lock is the \
               operating system's, so it disappears with the process, even after `kill -9`.",
    },
    Code {
        code: "E0915",
        title: "unknown tier",
        text: "An evaluation names one of the tiers screen, search and verify, which say on which tasks and for how \
               many steps a program is trained; or a file with a tier of your own (E0940).",
    },
    Code {
        code: "E0916",
        title: "archc bug: the device gave other numbers than asked for",
        text: "The logits of a forward pass have another shape than [batch, tokens, vocabulary]. This is a bug of \
               archc, not of the program; please report it with the program.",
    },
    Code {
        code: "E0917",
        title: "the evaluation ran out of time",
        text: "The time limit of this evaluation passed before its steps were done. Limits only guard against \
               programs that hang: scores never depend on time, so a slow program is not scored on fewer steps.",
    },
    Code {
        code: "E0918",
        title: "a run that does not hold its program",
        text: "Folders of trainings hold the program and its sizes, so that `archc train RUN`, `forward RUN`, `eval RUN` and \
               `sample RUN` need nothing else. This folder was written by an archc that kept only a hash. Give the program \
               and the options of the run:\n\
               \n\
               archc train block.arch --set D=32 --out runs/train-1\n\
               archc forward block.arch --set D=32 --layers 2 --vocab 16 --weights runs/train-1 ...",
    },
    Code {
        code: "E0919",
        title: "an option that would do nothing",
        text: "What is asked for does not depend on this option, so whoever gave it expects something else to happen: \
               `--layers` for a model, which has its own layers; `--corpus` for a task that reads no text; `--time-limit` \
               where nothing is trained. The message says why; leave the option out.",
    },
    Code {
        code: "E0920",
        title: "a sample of what is no text",
        text: "`--sample` prints bytes that a model writes. The tokens of the task `text` are bytes; those of the other tasks \
               are symbols without a text.\n\
               \n\
               archc train block.arch --task text --sample 300 --prompt \"The \"",
    },
    Code {
        code: "E0921",
        title: "a sample that cannot go on",
        text: "The logits after some token are not finite, so no next token can be drawn: the weights are those of a \
               training that diverged, or the program computes something unbounded on longer texts than it was trained on.",
    },
    Code {
        code: "E0925",
        title: "weights for a tier of several models",
        text: "`archc eval --weights` scores one trained model. The tasks of some tiers differ in width or vocabulary, \
               and so train models whose parameters have other shapes; no file fits them all.\n\
               \n\
               Wrong:  archc eval block.arch --tier search --weights runs/train-1/weights.safetensors\n\
               Right:  archc eval block.arch --tier screen --weights runs/train-1/weights.safetensors",
    },
    Code {
        code: "E0926",
        title: "a corpus that is not text",
        text: "The task `text` learns the bytes of texts: UTF-8, Latin-1 or any other encoding whose texts have no byte 0. \
               A file with one is a program, an archive, a picture, or text in UTF-16, and bits per byte of those say \
               nothing about language. Take the file out of the folder, or convert it:\n\
               \n\
               iconv -f UTF-16 -t UTF-8 book.txt > book-utf8.txt",
    },
    Code {
        code: "E0927",
        title: "more data than a training reads",
        text: "A corpus has 1 GiB at most, and the file of the task `jsonl` 256 MiB: they are held in memory, and are read no \
               further than this, so that a device file or a pipe without an end is not read for ever. Give a part:\n\
               \n\
               head -c 100M all.txt > part.txt\n\
               head -n 100000 all.jsonl > rows.jsonl",
    },
    Code {
        code: "E0928",
        title: "the rows of a task cannot be read",
        text: "`--task jsonl:PATH` reads a file of JSON lines. Everything behind `jsonl:` is its path, as the working folder sees \
               it. There is no file there, or the system refuses to read it.",
    },
    Code {
        code: "E0929",
        title: "a line that is no row",
        text: "Every line of a file of rows is one JSON object with `tokens` and, if wanted, `targets`, `mask` and `part`, and no \
               other field; the first line may be {\"vocab\": N} instead. `mask` is 0 or 1 a token (1: its target is learned and \
               scored; without `mask` all are). Without `targets` each token is to predict the next, and the last is not scored. \
               `part` is \"train\", \"validation\" or \"test\"; rows without one are split by their contents.\n\
               \n\
               {\"vocab\": 8}\n\
               {\"tokens\": [3, 1, 2], \"targets\": [0, 0, 3], \"mask\": [0, 0, 1]}\n\
               {\"tokens\": [5, 6, 7, 5, 6], \"part\": \"test\"}",
    },
    Code {
        code: "E0930",
        title: "a row whose lengths do not fit",
        text: "`targets` and `mask` have one number for each of `tokens`: the target at a token is what the output there must \
               predict, having seen the tokens up to it. Rows may differ in length; shorter ones are padded with tokens that are \
               not scored. A row has at least one token and at most 1,048,576.\n\
               \n\
               Wrong:  {\"tokens\": [3, 1, 2], \"targets\": [3]}\n\
               Right:  {\"tokens\": [3, 1, 2], \"targets\": [0, 0, 3], \"mask\": [0, 0, 1]}",
    },
    Code {
        code: "E0931",
        title: "a number that is no token",
        text: "Tokens and targets are whole numbers from 0, below the `vocab` of the first line where it states one, and below \
               1,048,576 in any case. Without that line the vocabulary is 1 + the largest of them. A target that is not to be \
               learned is any token, with 0 at its place in `mask`.\n\
               \n\
               Wrong:  {\"tokens\": [3, 1, 2], \"targets\": [-100, -100, 3]}\n\
               Right:  {\"tokens\": [3, 1, 2], \"targets\": [0, 0, 3], \"mask\": [0, 0, 1]}",
    },
    Code {
        code: "E0932",
        title: "a row that asks for nothing",
        text: "A row of which no token is scored teaches nothing and would be counted as a row: its `mask` is 0 throughout, or it \
               has no `targets` and a single token, which no other follows. Leave it out, or say what is to be predicted.",
    },
    Code {
        code: "E0933",
        title: "too few rows",
        text: "A task needs rows to train on, to validate on and to test on. Rows that are equal count once. Those that state no \
               `part` are split by their contents: a tenth is test, a tenth validation, the rest training, so ten are enough where \
               no row states one. Where some rows state parts, the other rows must leave some for the parts that nobody states.",
    },
    Code {
        code: "E0940",
        title: "a file that is no tier",
        text: "`--tier FILE` reads what an evaluation does: its tasks, their sizes and steps. The file is JSON:\n\n\
{\"name\": \"mine\", \"seeds\": \"mine\", \"part\": \"validation\", \"rates\": [1, 2], \"tasks\": [\n  \
{\"name\": \"recall\", \"task\": \"mqar:vocab=64,pairs=4,len=32\", \"width\": 32, \"layers\": 1, \"steps\": 200,\n   \
\"batch\": 16, \"learning_rate\": 0.005, \"measure\": \"curve\", \"unit\": 1.5, \"weight\": 1, \"score_batches\": 8}]}\n\n\
`rates` multiply the learning rates; each is trained, and the best is told. `measure` is `curve`, the mean training loss, \
`final`, the loss of the scored part after the last step, or `both`, the mean of the two. A task scores 0 at the loss of a guess that does not look, and 1 where \
the measure has fallen below that by `unit` nats (without one: by all of it). The tier's score is the mean by `weight`.",
    },
    Code {
        code: "E0941",
        title: "weights that are none of the tier's tasks",
        text: "`--task-weights mqar=2,text=0` changes how much the tasks of a tier count in its score: names of its tasks with numbers \
               that are 0 or positive. A weight of 0 leaves the task out; one task at least must stay.",
    },
];

#[cfg(test)]
mod tests {
    use super::CODES;

    #[test]
    fn codes_are_ordered_and_ours() {
        assert!(CODES.windows(2).all(|w| w[0].code < w[1].code));
        assert!(CODES.iter().all(|c| c.code.starts_with("E09") && c.code.len() == 5));
    }
}
