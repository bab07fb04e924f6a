// Without scripts the table of experiments is not filtered, programs are opened by hand, and nothing is copied by a button.
const box = document.getElementById("filter");
const rows = [...document.querySelectorAll("#experiments tbody tr")];
box?.addEventListener("input", () => {
  const wanted = box.value.toLowerCase().split(/\s+/);
  for (const row of rows) row.hidden = !wanted.every((word) => row.textContent.toLowerCase().includes(word));
});
// A link to a program opens its box.
const reveal = () => {
  const target = document.getElementById(location.hash.slice(1));
  if (target?.tagName === "DETAILS") target.open = true;
};
addEventListener("hashchange", reveal);
reveal();
for (const pre of document.querySelectorAll("pre.code")) {
  const text = pre.textContent;
  const button = document.createElement("button");
  button.className = "copy";
  button.textContent = "copy";
  button.addEventListener("click", async () => {
    try {
      await navigator.clipboard.writeText(text);
      button.textContent = "copied";
    } catch {
      getSelection().selectAllChildren(pre);
      button.textContent = document.execCommand("copy") ? "copied" : "selected";
    }
    setTimeout(() => (button.textContent = "copy"), 1500);
  });
  pre.append(button);
}
