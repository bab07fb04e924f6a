// The only script: filters the table of experiments as one types. Without it the table is simply whole.
const box = document.getElementById("filter");
const rows = [...document.querySelectorAll("#experiments tbody tr")];
box?.addEventListener("input", () => {
  const wanted = box.value.toLowerCase().split(/\s+/);
  for (const row of rows) row.hidden = !wanted.every((word) => row.textContent.toLowerCase().includes(word));
});
